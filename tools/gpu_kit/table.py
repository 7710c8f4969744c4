"""The table of the kit: each figure of Impasto, PyTorch's best, their ratio, and the goal."""

# Title, figure, goal of the ratio to PyTorch's best (times: at most), goal of the figure itself with its side.
PAINTING = [f"painting {size}, f16, {way}, ms" for size in ("1920x1080", "1280x720") for way in ("GPU alone", "with copies")]
CLIPS = [f"painting {size}, {precision}, clip, frames/s" for size in ("1920x1080", "1280x720") for precision in ("f16", "bf16")]
STEPS = [(batch, precision) for batch in (4, 16) for precision in ("bf16", "tf32", "f32")]


def table(report):
    """The text of the table, and of what failed."""
    rows = [row(report, *what) for what in rows_of(report)]
    head = ("figure", "Impasto", "PyTorch's best", "ratio", "goal", "met")
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in [head, *rows]]
    lines.append("\nTimes and rates are compared with PyTorch's best way, on the same GPU in the same run.\n")
    for name, stage in report["stages"].items():
        lines.append(f"{name}: {'passed' if stage['passed'] else 'FAILED'} ({stage['seconds']} s)")
        lines += [f"  {failure}" for failure in stage["failures"]]
    return "\n".join(lines) + "\n"


def rows_of(report):
    """Title, figure, PyTorch's best and its way, text and check of the goal."""
    figures = report["figures"]
    for name in PAINTING:
        goal = ("ratio at most 0.7", lambda _, ratio: ratio and ratio <= 0.7) if "alone" in name and "1080" in name else None
        yield name, figures.get(name), best(report, name), goal
    for name in CLIPS:
        goal = ("at least 200", lambda rate, _: rate >= 200) if "1920x1080, f16" in name else None
        yield name, figures.get(name), None, goal
    for batch, precision in STEPS:
        name = f"training step, batch {batch}, {precision}, ms"
        rate = lambda milliseconds, batch=batch: 1e3 * batch / milliseconds  # noqa: E731
        goal = ("ratio at least 1.5", lambda _, ratio: ratio and ratio >= 1.5) if precision == "bf16" else None
        other = best(report, name)
        ours = figures.get(name)
        yield name.replace("ms", "images/s"), ours and rate(ours), other and (rate(other[0]), other[1]), goal
    step = figures.get("training step, batch 4, bf16, ms")
    yield "40,000 steps of batch 4, bf16, minutes", step and 40 * step / 60, None, ("at most 6", lambda x, _: x <= 6)
    loss, noise = figures.get("loss in bf16 by loss in f32"), figures.get("the same: twice the standard error")
    near = f"1, up to {noise:.3f}" if noise else "1, up to noise"
    yield "loss in bf16 by loss in f32", loss, None, (near, lambda x, _: noise and abs(x - 1) <= noise)
    yield "first painting: levels off on average", figures.get("first painting: levels off on average"), None, None
    for program in ("engine_tests", "suite"):
        name = f"{program}: tests passed"
        yield name, figures.get(name), None, ("all", lambda text, _: len(set(text.split(" of "))) == 1)


def best(report, name):
    """PyTorch's shortest time and its way."""
    ways = report["peers"].get(name)
    return min((value, way) for way, value in ways.items()) if ways else None


def row(report, name, ours, other, goal):
    number = lambda value: "-" if value is None else value if isinstance(value, str) else f"{value:.2f}"  # noqa: E731
    ratio = ours / other[0] if ours and other else None
    # A goal that is a ratio says nothing without the peer.
    met = goal[1](ours, ratio) if goal and ours is not None else None
    theirs = f"{other[0]:.2f} ({other[1]})" if other else "-"
    return name, number(ours), theirs, number(ratio), goal[0] if goal else "", "" if met is None else "yes" if met else "NO"
