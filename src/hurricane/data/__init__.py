"""Pictures: where they come from, how they are decoded, and how they are split."""

from hurricane.data.conformance import check_data_source
from hurricane.data.decoding import picture_array, read_picture
from hurricane.data.opening import open_source
from hurricane.data.pictures import DataSource, Pictures, SourceFacts, Split

__all__ = [
    "DataSource",
    "Pictures",
    "SourceFacts",
    "Split",
    "check_data_source",
    "open_source",
    "picture_array",
    "read_picture",
]
