import math

import numpy as np
import pytest

from guidekit.evaluation.checks import check_labels, check_sets
from guidekit.reporting.panels import Layout, Panel, best, draw, spread
from guidekit.reporting.summary import STATISTICS, distinct, means, ranked, summarised

ROWS = [
    {"name": "a", "size": 1.0, "valid": True},
    {"name": "b", "size": 3.0, "valid": True},
    {"name": "a", "size": 1.0, "valid": True},
    {"name": "", "size": math.nan, "valid": False},
    {"name": "c", "size": 8.0, "valid": True},
]


def test_distinct_valid_ones_are_counted_and_scored():
    figures, kept = summarised(ROWS, [2.0, 5.0, 9.0, 7.0, -math.inf], "name", tuple(STATISTICS))
    assert [row["name"] for row in kept] == ["a", "b", "c"]
    expected = {
        "valid": 0.8,
        "unique": 0.75,
        "reward": 3.5,
        "reward sd": math.sqrt(4.5),
        "median reward": 3.5,
        "best": 5,
    }
    assert figures == pytest.approx(expected) and list(figures) == list(expected)
    assert means(kept, ["size"]) == {"size": 4.0}


def test_nothing_to_count_is_nan():
    figures, kept = summarised(ROWS[3:4], [1.0], "name")
    assert figures["valid"] == 0 and kept == [] and all(map(math.isnan, list(figures.values())[1:]))
    assert math.isnan(means(kept, ["size"])["size"])
    one, _ = summarised(ROWS[:1], [1.0], "name")
    assert one["reward"] == one["best"] == 1.0 and math.isnan(one["reward sd"])


def test_order_of_the_best():
    values = [1.0, math.nan, 3.0, -math.inf, 1.0]
    assert [thing for _, thing in ranked("abcde", values, str)] == ["c", "a", "e", "b", "d"]
    assert distinct(["x", None, "x", "y"], [1, 2, 3, 4], lambda one: one) == [(1, "x"), (4, "y")]


def test_panels_tell_how_many_and_what():
    found = [(3.0, np.zeros((2, 2))), (1.0, np.ones((2, 2))), (-math.inf, np.ones((2, 2)))]
    panel = best("guided", found, 9, "key", 2, np.asarray)
    assert panel.title == "guided: best 2 of 9 by key, mean 2" and panel.values == [3.0, 1.0]
    assert best("samples", [(math.nan, np.zeros((2, 2)))], 1, "", 2, np.asarray).title == "samples"
    assert [p.tolist() for p in spread("real", [[i] for i in range(9)], 3, np.asarray).pictures] == [[0], [4], [8]]
    assert spread("real", [], 3, np.asarray) == Panel("real", [], [])


def test_pictures_stand_where_they_should(tmp_path):
    from matplotlib.image import imread

    corner = np.zeros((4, 4))
    corner[0, 0] = 1.0  # row 0 is at the top, or, upward, at the bottom
    shades = {"cmap": "gray", "vmin": 0, "vmax": 1}
    for upward in (False, True):
        draw(
            [Panel("", [corner], [math.nan]), Panel("", [], [])],
            Layout(4, (1.0, 1.0), shades, upward),
            tmp_path / "a.png",
        )
        grey = imread(tmp_path / "a.png")[..., 0]
        dark = np.argwhere(grey < 0.1)
        (top, left), (bottom, right) = dark.min(0), dark.max(0)
        assert bottom - top == pytest.approx(right - left, abs=3)
        assert grey[top + 10, left + 10] == (0.0 if upward else 1.0)
        assert grey[bottom - 10, left + 10] == (1.0 if upward else 0.0) and grey[bottom - 10, right - 10] == 0.0
    with pytest.raises(ValueError, match="no pictures to draw"):
        draw([Panel("", [], [])], Layout(4, (1.0, 1.0), shades), tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_sets_and_labels_that_cannot_be_judged():
    check_sets("sounds", [None], reference=None, training_set=[1])
    with pytest.raises(ValueError, match="there are no sounds to evaluate"):
        check_sets("sounds", [])
    with pytest.raises(ValueError, match="the training set is empty; pass real sounds or None"):
        check_sets("sounds", [1], training_set=[])
    with pytest.raises(ValueError, match="2 labels for 1 sounds"):
        check_labels("sounds", {"labels": ([1, 2], [1])})
    with pytest.raises(ValueError, match="1 reference_labels for 0 sounds"):
        check_labels("sounds", {"reference_labels": ([1], None)})
