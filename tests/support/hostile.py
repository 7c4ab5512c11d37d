"""A run each of whose texts tries to run a script, or to call home, wherever a page shows it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path as File
from typing import Any

from storage.objects.opening import open_store
from storage.rows.kinds import PATHS, PROBLEMS, Rows, stage_rows
from storage.rows.records import Drop
from storage.rows.versions import schema_versions
from storage.runs.marks import Mark, put_mark
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec

HOME = "http://attacker.invalid"
"""Nothing answers there; a request for it is seen in the browser."""
RAN = "window.ran = true"
PAYLOADS = (
    f"<script>{RAN}</script>",
    f"<img src=x onerror='{RAN}'>",
    f"<img src='{HOME}/seen.png'>",
    f"<svg onload='{RAN}'><script>{RAN}</script><a xlink:href='javascript:{RAN}'>x</a></svg>",
    f"<a href='javascript:{RAN}'>click</a>",
    f"javascript:{RAN}",
    f"\"'><script>{RAN}</script>",
    f"</pre></p></title></style></script><script>{RAN}</script>",
    f"<iframe srcdoc='<script>parent.{RAN}</script>'></iframe>",
    f"<object data='javascript:{RAN}'></object><embed src='javascript:{RAN}'>",
    f"<math><mtext><style><img src=x onerror='{RAN}'></style></mtext></math>",
    f"<details open ontoggle='{RAN}'><summary>x</summary></details>",
    f"<form action='javascript:{RAN}'><button autofocus onfocus='{RAN}'>x</button></form>",
    f"<link rel=stylesheet href='{HOME}/a.css'><style>@import '{HOME}/b.css';</style>",
    f"<meta http-equiv=refresh content='0;url={HOME}'>",
    f"<base href='{HOME}/'>",
    "${" + RAN + "} {{" + RAN + "}} `" + RAN + "`",
    f"[click](javascript:{RAN}) ![x]({HOME}/c.png)",
    rf"$\href{{javascript:{RAN}}}{{click}}$ \(\url{{javascript:{RAN}}}\)",
    r"$\htmlClass{shade}{a} \htmlId{main}{b} \htmlStyle{position:fixed}{c} \htmlData{x=y}{d}$",
    rf"\[\includegraphics[width=9em]{{{HOME}/d.png}}\] $\href{{{HOME}}}{{e}}$",
    rf"$\text{{<img src=x onerror='{RAN}'>}}$ $$\textcolor{{url({HOME}/f)}}{{x}}$$",
    r"$\def\x{\x\x}\x$ $\rule{9999em}{9999em}$ $\kern-9999em\raisebox{9999em}{x}$",
    "\u202e\u0000\ufeff<scr\u0000ipt>" + RAN + "</script>",
)
"""One a path; whoever renders any of them as markup runs it, or asks HOME."""
ROAD = (
    "problems", "sample", "estimate", "prover", "label", "rationalize", "formalize", "judge",
    "consensus", "repair", "retry", "export",
)  # fmt: skip


def hostile_run(folder: File, payloads: Sequence[str] = PAYLOADS) -> Run:
    """One problem and one path for every payload, which stands in all of their text fields."""
    kinds = [stage_rows(stage) for stage in ROAD]
    spec = Spec(
        configuration={"stages": {"seed": 0}},
        input_digest="hostile",
        plan=ShardPlan(len(payloads), len(payloads)),
        models={f"policy{payloads[0]}": payloads[1], "completer": payloads[6]},
        stages=ROAD,
        schemas=schema_versions(kind.record for kind in kinds),
    )
    run = Run.start(open_store(f"file://{folder}"), "hostile", spec)
    for kind in kinds:
        rows = [_row(kind, payload) for payload in payloads]
        # Half of the paths are dropped at the end, as hostile as they came.
        dropped = payloads[::2] if kind.stage == ROAD[-1] else ()
        drops = [Drop(f"{payload}#0", payload, payload) for payload in dropped]
        kept = [row for row in rows if kind.came(row) not in {drop.item for drop in drops}]
        run.publish(kind, 0, kept, drops, {payload: 1 for payload in payloads})
    run.finish()
    for payload in payloads:
        put_mark(run, Mark(f"{payload}#0", payload[:90], False, 0, payload, "2026-01-01"))
    return run


def _row(kind: Rows[Any], payload: str) -> Any:
    row = _filled(kind.record, payload)
    change: dict[str, Any] = {"path_id": f"{payload}#0", "problem_id": payload}
    if kind is PROBLEMS:
        change = {"problem_id": payload}
    if kind is PATHS:
        change |= {"selected": True, "duplicate_of": None, "invalid_reason": None}
    if "dropped" in {field.name for field in dataclasses.fields(kind.record)}:
        change |= {"dropped": None}
    return dataclasses.replace(row, **change)


def _filled(hint: Any, payload: str) -> Any:
    """A value of a type whose every text is the payload."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return hint(**{f.name: _filled(hints[f.name], payload) for f in dataclasses.fields(hint)})
    if isinstance(hint, types.UnionType):
        return _filled(typing.get_args(hint)[0], payload)
    if typing.get_origin(hint) is list:
        return [_filled(typing.get_args(hint)[0], payload)]
    return {str: payload, int: 0, float: 0.5, bool: True}[hint]
