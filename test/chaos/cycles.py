"""cycles.py: a run's operations as a graph of what has to come before what, and whether it goes round in circles.

One operation comes before another if it ended before the other began; if it wrote what the other read; or if what it wrote has the lower
offset in a partition. Reads that see too little are no contradiction: a log's reader may lag. Times alone show most of what is wrong (see
real_time_order and read_before_sent in rules.py); what they do not show are circles over several partitions, by way of a transaction.

All operations of a run would be too many. They are looked at in windows of WINDOW operations by their beginnings, each window
with the last quarter of the one before it: a circle that spans less than a quarter of a window is found.
"""
from rules import Finding

WINDOW = 40_000


class Graph:
    """Edges between nodes: operations are positive numbers, moments in time negative ones."""

    def __init__(self):
        self.after = {}

    def add(self, one, other):
        if one != other:
            self.after.setdefault(one, []).append(other)
            self.after.setdefault(other, [])


def without_beginnings(graph):
    """The graph less what nothing comes before, and less what then has nothing before it, and so on: nothing is left of one without
    a circle, and that is found faster than components are."""
    before = dict.fromkeys(graph.after, 0)
    for steps in graph.after.values():
        for step in steps:
            before[step] += 1
    free = [node for node, count in before.items() if count == 0]
    for node in free:
        for step in graph.after[node]:
            before[step] -= 1
            if before[step] == 0:
                free.append(step)
    left = Graph()
    left.after = {node: [step for step in graph.after[node] if before[step] > 0] for node, count in before.items() if count > 0}
    return left


def components(graph):
    """Strongly connected components of more than one node (Tarjan's, without recursion)."""
    graph = without_beginnings(graph)
    index, low, on_stack, stack = {}, {}, set(), []
    for root in graph.after:
        if root in index:
            continue
        work = [(root, iter(graph.after[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            step = next(rest, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found = take_component(stack, on_stack, node)
                    if len(found) > 1:
                        yield found
            elif step not in index:
                index[step] = low[step] = len(index)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(graph.after[step])))
            elif step in on_stack:
                low[node] = min(low[node], index[step])


def take_component(stack, on_stack, node):
    found = []
    while True:
        found.append(stack.pop())
        on_stack.discard(found[-1])
        if found[-1] == node:
            return found


def shortest_cycle(graph, component):
    """A way from one of its operations back to itself, over as few edges as there are."""
    inside, best = set(component), None
    for start in [node for node in component if node > 0][:20]:
        came, queue = {start: None}, [start]
        for node in queue:
            for step in graph.after[node]:
                if step == start:
                    path = [node]
                    while came[path[-1]] is not None:
                        path.append(came[path[-1]])
                    if best is None or len(path) < len(best):
                        best = path[::-1]
                    queue.clear()
                    break
                if step in inside and step not in came:
                    came[step] = node
                    queue.append(step)
    return [node for node in best if node > 0]


def graph_of(operations, written, read):
    """operations: {line: (start, end)}; written: (place, offset, line) in that order; read: (place, offset, line), the highest of each read."""
    graph = Graph()
    ends = sorted((end, line) for line, (_start, end) in operations.items())
    starts = sorted((start, line) for line, (start, _end) in operations.items())
    passed = 0
    for number, (_end, line) in enumerate(ends):
        graph.add(line, -number - 1)
        if number:
            graph.add(-number, -number - 1)
    for start, line in starts:
        while passed < len(ends) and ends[passed][0] < start:
            passed += 1
        if passed:
            graph.add(-passed, line)
    by_place = {}
    for place, offset, line in written:
        before = by_place.setdefault(place, [])
        if before:
            graph.add(before[-1][1], line)
        before.append((offset, line))
    add_reads(graph, by_place, read)
    return graph


def add_reads(graph, by_place, read):
    """A read comes after the last that it read; and that, by the order of the partition, after all before it."""
    for place, offset, line in sorted(read):
        writers = by_place.get(place, [])
        low, high = 0, len(writers)
        while low < high:
            middle = (low + high) // 2
            if writers[middle][0] <= offset:
                low = middle + 1
            else:
                high = middle
        if low:
            graph.add(writers[low - 1][1], line)


def windows(ledger, size):
    """(first start, last start) of windows that overlap by a quarter."""
    quarter = max(1, size // 4)
    starts = [start for start, in ledger.ask(f"""SELECT start FROM (SELECT start, row_number() OVER (ORDER BY start) AS n FROM line WHERE op IN ('send', 'poll'))
                                                WHERE n % {quarter} = 1 % {quarter}""")]
    for number in range(0, len(starts), 3):
        yield starts[number], starts[number + 4] if number + 4 < len(starts) else 1 << 62


def causal_cycle(ledger, size=None):
    """What has to come before what has an order: no write and read go round in circles, over any number of partitions."""
    told = set()
    for first, last in windows(ledger, size or WINDOW):
        operations = {line: (start, end) for line, start, end in ledger.ask(
            "SELECT line, min(start), max(end) FROM there WHERE start >= ? AND start < ? GROUP BY line", first, last)}
        written = [row for row in ledger.ask("SELECT place, offset, line FROM there WHERE ordered AND copy = 1 AND start >= ? AND start < ? ORDER BY place, offset", first, last)]
        operations = {line: operations[line] for line in {row[2] for row in written}}
        operations.update({line: (start, end) for line, start, end in ledger.ask(
            "SELECT line, start, end FROM line WHERE op = 'poll' AND start >= ? AND start < ?", first, last)})
        read = ledger.ask("SELECT place, offset, line FROM knew JOIN line USING (line) WHERE op = 'poll' AND start >= ? AND start < ?", first, last).fetchall()
        graph = graph_of(operations, written, read)
        for component in components(graph):
            cycle = shortest_cycle(graph, component)
            if not told & set(cycle):
                told.update(cycle)
                yield Finding(f"{len(cycle)} operations each have to come before the next, and the last before the first", [(line, None) for line in cycle])
