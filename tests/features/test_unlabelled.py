"""Records without labels."""

from modelscope_beit.features.unlabelled import unlabelled_records


def test_unlabelled_records__have_paths_and_no_class() -> None:
    records = unlabelled_records(["a.jpg", "b.jpg"], "two pictures")
    assert (len(records), records.files(), records.class_names) == (2, ["a.jpg", "b.jpg"], ())
    assert (records[1].image, records[1].name, records[1].label) == ("b.jpg", "b.jpg", -1)
