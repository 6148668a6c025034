"""What is a path of somebody's machine, and what only looks like one."""

import pytest

from modelscope_beit.publishing.local_paths import find_local_paths, is_local_path, without_local_paths

ROOT = "/ho" + "me/ann"  # In one piece it would be what no file of ours may say.


@pytest.mark.parametrize(
    ("text", "found", "shortened"),
    [
        (f"beit train {ROOT}/pets --out /tmp/a/run", [f"{ROOT}/pets", "/tmp/a/run"], "beit train pets --out run"),
        (f"From {ROOT}/pets.", [f"{ROOT}/pets"], "From pets."),
        (f"({ROOT}/x.pth)", [f"{ROOT}/x.pth"], "(x.pth)"),
        (f'"path":"{ROOT}/x/"', [f"{ROOT}/x/"], '"path":"x"'),
        (f"file://{ROOT}/x", [f"file://{ROOT}/x"], "x"),
        ("~/data/pets and ~ann/pets", ["~/data/pets", "~ann/pets"], "pets and pets"),
        (r"C:\Users\ann\pets", [r"C:\Users\ann\pets"], "pets"),
        (r'{"a": "D:\\data\\pets"}', [r"D:\\data\\pets"], '{"a": "pets"}'),
        ("T-shirt/top, and/or, damo/cv_beit, 1/2", [], None),
        ("https://example.org/home/ann/x and //home/x", [], None),
        ("images (N, 3, H, W), 5 images/s, km/h", [], None),
        ("resources/tmp/x.png, ./tmp/x, ../home/x", [], None),
        ("about ~5 pictures, a~b/c", [], None),
        ("/ and /nowhere-at-all/known", [], None),
    ],
)
def test_find_local_paths__and_their_last_parts(text: str, found: list[str], shortened: str | None) -> None:
    assert find_local_paths(text) == found
    assert without_local_paths(text) == (text if shortened is None else shortened)


def test_find_local_paths__knows_places_with_spaces() -> None:
    known = ["/srv/my pets", "/srv/my pets/old"]
    text = "the folder /srv/my pets (validation part), /srv/my pets/old/cat.jpg"
    assert find_local_paths(text, known) == ["/srv/my pets", "/srv/my pets/old"]
    assert without_local_paths(text, known) == "the folder my pets (validation part), old/cat.jpg"


def test_find_local_paths__does_not_find_a_known_place_inside_a_word() -> None:
    text = "resources/data, x/database, /data and /data/x"
    assert find_local_paths(text, ["/data"]) == ["/data", "/data/x"]
    assert without_local_paths(text, ["/data"]) == "resources/data, x/database, data and data/x"


def test_is_local_path__is_of_the_whole_text() -> None:
    assert is_local_path("/tmp/a") and is_local_path(r"C:\data")
    assert not is_local_path("see /tmp/a") and not is_local_path("a/b")
