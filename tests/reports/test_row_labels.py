"""Labels of rows without a study."""

from mcl.reports.row_labels import sort_labels


def test_labels_are_sorted_by_their_numbers_and_a_superscript_is_no_number() -> None:
    assert sort_labels(["resnet20", "²", "m²", "resnet8", "5²"], first="m²") == ["m²", "5²", "resnet8", "resnet20", "²"]
