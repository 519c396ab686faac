"""report.py: turns what was measured into tables that people read. Values are medians over the rounds."""
import statistics

CASE_NAMES = {"1k": "1 KiB", "100": "100 B", "1k_lz4": "1 KiB, lz4", "100_lz4": "100 B, lz4"}
ABSENT = "–"


def median_of(run, kind, *path):
    """The median over all rounds of the value that path leads to, or None when no round has it."""
    values = []
    for measured in run["rounds"]:
        value = measured.get(kind)
        for step in path:
            value = value.get(step) if value is not None else None
        if value is not None:
            values.append(value)
    return statistics.median(values) if values else None


def ratio(ours, theirs):
    return ABSENT if not ours or not theirs else f"{ours / theirs:.2f}×"


def shown(value, form="{:.0f}"):
    return ABSENT if value is None else form.format(value)


def size_name(size):
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"


def table(heading, rows):
    """Columns as wide as their widest cell, as Markdown that can be read as it is."""
    widths = [max(len(row[i]) for row in [heading, *rows]) for i in range(len(heading))]

    def line(cells):
        return "| " + " | ".join([cells[0].ljust(widths[0]),
                                  *[cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *["-" * (width + 1) + ":" for width in widths[1:]]]) + "|"
    return "\n".join([line(heading), rule, *[line(row) for row in rows]])


def speed_rows(run):
    for verb in ("produce", "consume"):
        for case, name in CASE_NAMES.items():
            key, flushed_key = f"{verb}_{case}", f"{verb}_{case}_flushed"
            for unit, path, form in (("MB/s", "mb_per_s", "{:.0f}"), ("1,000 records/s", "records_per_s", "{:.0f}")):
                ours = median_of(run, "ours", "measured", key, path)
                kafka = median_of(run, "kafka", "measured", key, path)
                flushed = median_of(run, "kafka", "measured", flushed_key, path)
                if ours is None and kafka is None or (unit == "MB/s") != case.startswith("1k"):
                    continue
                scale = 1 if unit == "MB/s" else 1000
                yield [f"{verb} {name}, {unit}", *[shown(v and v / scale, form) for v in (ours, kafka)],
                       ratio(ours, kafka), shown(flushed and flushed / scale, form), ratio(ours, flushed)]


def latency_rows(run):
    for quantile in ("p50", "p99"):
        ours = median_of(run, "ours", "measured", "pace", f"{quantile}_ms")
        kafka = median_of(run, "kafka", "measured", "pace", f"{quantile}_ms")
        flushed = median_of(run, "kafka", "measured", "pace_flushed", f"{quantile}_ms")
        if ours is not None or kafka is not None:
            yield [f"latency {quantile} at 1,000 records/s, ms ↓", shown(ours, "{:.2f}"), shown(kafka, "{:.2f}"),
                   ratio(ours, kafka), shown(flushed, "{:.2f}"), ratio(ours, flushed)]


def cpu_rows(run):
    for verb in ("produce", "consume"):
        for case, name in CASE_NAMES.items():
            path = ("measured", f"{verb}_{case}", "cpu_s_per_gb")
            agent, postgres = (median_of(run, "ours", *path, part) for part in ("agent", "postgres"))
            kafka = median_of(run, "kafka", *path, "kafka")
            if agent is None and kafka is None:
                continue
            both = None if agent is None else agent + postgres
            yield [f"{verb} {name}", *[shown(value, "{:.2f}") for value in (agent, postgres, kafka)],
                   ratio(agent, kafka), ratio(both, kafka)]


def memory_row(run):
    agent, postgres = (median_of(run, "ours", "memory_mib", part) for part in ("agent", "postgres"))
    kafka = median_of(run, "kafka", "memory_mib", "kafka")
    both = None if agent is None else agent + postgres
    return ["peak memory, MiB", *[shown(value) for value in (agent, postgres, kafka)],
            ratio(agent, kafka), ratio(both, kafka)]


def text(run):
    versions = " and ".join(run["versions"].values())
    rounds = len(run["rounds"])
    return "\n".join([
        f"{versions}, {run['date']}",
        f"{run['machine']}; its disk: {run['disk_syncs_per_s']:,} synced appends/s, "
        f"{run['disk_mb_per_s']} MB/s of synced appends of 8 MiB",
        f"8 partitions, acks=all, {run['seconds']:g} s a measurement, "
        + (f"medians of {rounds} rounds" if rounds > 1 else "one round")
        + f", load average before {run['load_average_before']:.1f}; {run['took_s']} s in all. "
        "Ratios are ours to Kafka's; ↓: less is better.",
        "",
        table(["throughput and latency", "StreamHouse", "Kafka", "ratio", "Kafka, flushed", "ratio"],
              [*speed_rows(run), *latency_rows(run)]),
        "",
        table(["CPU seconds per GB of records ↓", "agent + store", "PostgreSQL", "Kafka", "agent ÷ Kafka", "all ÷ Kafka"],
              [*cpu_rows(run), memory_row(run)]),
    ])
