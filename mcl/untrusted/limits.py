"""The limits of received files. docs/security.md lists them."""

KIB, MIB, GIB = 2**10, 2**20, 2**30

MAX_CONFIG = MIB  # bytes of a config.yaml; usual ones have a few thousand
MAX_JSON = 16 * MIB  # bytes of a summary, a failure or the metadata of a network
MAX_LINE = MIB  # bytes of a line of metrics.jsonl
MAX_METRICS = 2 * GIB  # bytes of a metrics.jsonl
MAX_LABELS = GIB  # bytes of a CSV file of images and their classes
MAX_CSV = 64 * MIB  # bytes of a confusion matrix or of a results.csv
MAX_IMAGE = GIB  # bytes of an image that is inspected; Pillow limits its pixels
MAX_NETWORK = 16 * GIB  # bytes of a checkpoint, an exported file or a bundle

MAX_DEPTH = 32  # of nested lists and mappings
MAX_NODES = 100_000  # values in one configuration or record
MAX_STATE_NODES = 1_000_000  # values in a checkpoint
MAX_INTEGER = 2**128
MAX_NAME = 100  # characters of a name that becomes part of a path
MAX_SIZE = 8192  # of a number in the description of a network: layers, channels, pixels

MAX_MEMBERS = 1000  # files in a bundle
MAX_EXPANSION = 20  # unpacked size of a bundle, divided by its packed size; beyond FREE_EXPANSION
FREE_EXPANSION = 64 * MIB
MAX_ARCHIVE = GIB  # unpacked bytes of an archive of runs
MAX_ARCHIVE_MEMBERS = 100_000
MAX_XZ_MEMORY = 256 * MIB
