"""What the JSON description in a checkpoint must hold. A file may come from anyone: types are looked at before use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

MOST = 1 << 20
"""Of lengths, token ids and steps of a process."""
TOKENS = ("clean", "ratios")
"""What a network of tokens predicts."""
MOST_NUMBERS = 1 << 28
"""In a state."""


def _whole(value: Any, least: int, most: int = MOST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e6


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _plain(value: Any) -> bool:
    """Whether a value of JSON has finite numbers only, none of them enormous."""
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    if isinstance(value, list):
        return len(value) <= MOST and all(map(_plain, value))
    return value is None or isinstance(value, str | bool) or abs(value) <= MOST


def _counts(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(one, int | float) and 0 <= one < 1e18 for one in value)
    return numbers and 2 <= len(value) <= MOST and sum(value) > 0


def _lengths(value: Any) -> bool:
    return _counts(value) or (isinstance(value, list) and len(value) <= MOST and all(one == 0 for one in value))


def _shape(value: Any) -> bool:
    whole = isinstance(value, list) and 1 <= len(value) <= 4 and all(_whole(one, 1, MOST_NUMBERS) for one in value)
    return whole and math.prod(value) <= MOST_NUMBERS


def _label(value: Any) -> bool:
    fits = isinstance(value, dict) and {"name", "values"} <= value.keys() <= {"name", "values", "thresholds"}
    return (
        fits
        and isinstance(value["name"], str)
        and _texts(value["values"])
        and 0 < len(value["values"]) == len(set(value["values"]))
        and isinstance(value.get("thresholds", []), list)
        and _plain(value.get("thresholds"))
    )


def _process(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name", ""), str):
        return False
    return all(value.get(part) is None or isinstance(value[part], dict) for part in ("alpha", "options"))


def _graph(value: Any) -> bool:
    fits = isinstance(value, dict) and value.keys() == {"most", "nodes", "edges"} and _whole(value["most"], 1, 1024)
    return fits and all(_texts(value[key]) and 1 <= len(value[key]) <= 1024 for key in ("nodes", "edges"))


def _property(value: Any) -> bool:
    fits = isinstance(value, dict) and value.keys() == {"name", "mean", "std"} and isinstance(value["name"], str)
    return fits and _plain(value) and isinstance(value["mean"], int | float) and _positive(value["std"])


def _network(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("options"), dict)


RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "domain": (lambda value: isinstance(value, str), "the name of a domain"),
    "network": (_network, "{name, options} of a network"),
    "kind": (lambda value: isinstance(value, str), "what the file holds"),
    "card": (lambda value: isinstance(value, dict), "facts by name"),
    "dataset": (lambda value: isinstance(value, str), "the name of a set"),
    "codec": (lambda value: isinstance(value, str), "a text"),
    "vocab_size": (lambda value: _whole(value, 1), f"a whole number from 1 to {MOST:,}"),
    "pad_id": (lambda value: value is None or _whole(value, 0), "null or the id of a token"),
    "length_counts": (_counts, "how often each length occurred, not all 0"),
    "label_lengths": (
        lambda value: (
            isinstance(value, list) and all(isinstance(one, list) and all(map(_lengths, one)) for one in value)
        ),
        "for each label and value how often each length occurred",
    ),
    "event_shape": (_shape, "up to 4 whole numbers from 1"),
    "graph": (_graph, "{most, nodes, edges}: most nodes (to 1,024), types of nodes and of edges"),
    "labels": (lambda value: isinstance(value, list) and all(map(_label, value)), "a list of {name, values}"),
    "classes": (_texts, "a list of names"),
    "parametrization": (lambda value: isinstance(value, str), "what the network predicts"),
    "temperature": (_positive, "a number above 0"),
    "sigma_data": (_positive, "a number above 0"),
    "marginals": (_counts, "shares of types, not all 0"),
    "properties": (lambda value: isinstance(value, list) and all(map(_property, value)), "a list of {name, mean, std}"),
    "joint": (lambda value: isinstance(value, bool), "true or false"),
    "sampling": (lambda value: _process(value) and "name" in value and _plain(value), "{name, options} of a sampler"),
    "process": (lambda value: value is None or _process(value) and _plain(value), "{name, options}, of finite numbers"),
}
"""Keys of a description, what tells that a value is right, and what is accepted."""
NEEDED = ("domain", "network")


def wrong(description: Any) -> str:
    """What is wrong with a description, in words; empty where its keys and types are right."""
    if not isinstance(description, dict):
        return f"its description is a {type(description).__name__}; keys and values are expected"
    prior = description.get("kind", "prior") == "prior"
    needed = [*NEEDED, *(("length_counts", "pad_id") if "vocab_size" in description and prior else ())]
    for key in needed:
        if key not in description:
            return f"its description has no {key!r}; {RULES[key][1]} is expected"
    for key, (fits, accepted) in RULES.items():
        if key in description and not fits(description[key]):
            return f"{key} in its description is {_shown(description[key])}; {accepted} is expected"
    return _disagreement(description)


def _disagreement(made: Mapping[str, Any]) -> str:
    """Where the description and the options of its network contradict each other, in words."""
    options = made["network"]["options"]
    sizes = [len(label["values"]) for label in made.get("labels", ())]
    pairs = [("vocab_size", made.get("vocab_size")), ("labels", sizes if "labels" in made else None)]
    pairs += [("channels", made["event_shape"][0] if "event_shape" in made else None)]
    lengths = made.get("label_lengths", [])
    room = len(made.get("length_counts", ()))
    if lengths and (
        [len(one) for one in lengths] != sizes or any(len(each) != room for one in lengths for each in one)
    ):
        return f"label_lengths in its description needs {room} numbers for every value of its labels"
    graph = made.get("graph")
    if graph is not None:
        pairs += [("nodes", graph["most"]), ("node_types", len(graph["nodes"])), ("edge_types", len(graph["edges"]))]
        pairs += [("stems", len(made.get("properties", ())))]
        if len(made.get("length_counts", ())) != graph["most"] + 1 or made.get("pad_id") != 0:
            return f"length_counts in its description needs {graph['most'] + 1} numbers, and pad_id must be 0"
    for key, told in pairs:
        if told is not None and key in options and options[key] != told:
            return f"its network has {key}={_shown(options[key])}, and the description says {_shown(told)}"
    if "vocab_size" in made and made.get("parametrization", "clean") not in TOKENS:
        return f"parametrization of tokens is {_shown(made['parametrization'])}; {' or '.join(TOKENS)} is expected"
    if made.get("pad_id") is not None and "vocab_size" in made and made["pad_id"] >= made["vocab_size"]:
        return f"pad_id={made['pad_id']} is none of its {made['vocab_size']} tokens"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def refuse_odd_process(process: Any) -> None:
    """Raise ValueError where the coefficients of a process are no finite numbers, or alpha is none of 0 to 1."""
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    if hasattr(process, "alpha"):
        found = torch.stack([torch.as_tensor(process.alpha(t)).double().reshape(-1)[0] for t in times])
        right = bool(((found >= 0) & (found <= 1)).all())
    else:
        found = torch.stack([torch.as_tensor(one).double() for one in process.coefficients(times)])
        right = bool((found.isfinite() & (found >= 0)).all())
    if not right:
        raise ValueError("its process has coefficients that are no finite numbers from 0")
