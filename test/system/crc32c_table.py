"""crc32c_table.py: CRC32C, a byte at a time: written from its polynomial, so that it shares nothing with what it checks."""

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed


def entry(value):
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


TABLE = [entry(value) for value in range(256)]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
