"""Answers: which text of a solution is the answer, and which answers are equal."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InputError, UnusualAnswer
from workflows.answers import check_reference, equal, last_box, normal, quick, read_answer
from workflows.answers.boxes import open_boxes
from workflows.answers.text import clean, key
from workflows.settings import AnswerSettings

SETTINGS = AnswerSettings()
PERCENT = AnswerSettings(percent_equals_fraction=True)

BOXES = [
    pytest.param(r"so \boxed{5}.", "5", id="one"),
    pytest.param(r"\boxed{1} and then \boxed{2}", "2", id="the last counts"),
    pytest.param(r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", id="braces inside"),
    pytest.param(r"\boxed{\{1, 2\}}", r"\{1, 2\}", id="escaped braces are no braces"),
    pytest.param(r"\boxed{\boxed{5}}", "5", id="nested"),
    pytest.param(r"\boxed{x = \boxed{5} + 1}", "x = 5 + 1", id="outer box holds the answer"),
    pytest.param(r"\boxed {7}", "7", id="space before the brace"),
    pytest.param(r"{ \boxed{3}", "3", id="an unclosed brace before"),
    pytest.param(r"\boxed{1} but \boxed{2", None, id="cut in the last box"),
    pytest.param(r"\boxed{\frac{1}{2}", None, id="cut inside"),
    pytest.param("the answer is 42", None, id="no box, no last number"),
    pytest.param(r"\boxed{}", None, id="empty box"),
    pytest.param(r"\boxed{  }", None, id="blank box"),
    pytest.param(r"\fbox{5}", None, id="a frame is no answer"),
    pytest.param("", None, id="nothing"),
]

EQUAL = [
    ("2^{10}", "2^10."),
    ("x^{12}", "x**12."),
    (r"1.5 \times 10^{10}", "1.5e10."),
    (r"0.56 = 56\%", r"56\%"),
    (r"0.56 = 56\%", r"0.56"),
    (r"\tan \theta = 2\theta", r"\left( \tan\theta = 2 \theta \right)"),
    (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", r"1"),
    (r"\log_2 8", r"3"),
    (r"-1", r"e^{i\pi}"),
    (r"\dfrac{2469}{20,\!000}", r"\frac{2469}{20000}"),
    (r"0,180", r"180, 0"),
    (r"-\frac{1}{2}", r"\frac{1}{-2}"),
    (r"-2, 1 + i \sqrt{3}, 1 - i \sqrt{3}", r"1 - \sqrt{3}i, 1 + \sqrt{3}i, -2"),
    (r"1+2i", r"2i+1"),
    (r"\frac{\sqrt{2}}{2}", r"\sqrt{2}/2"),
    (r"\text{Evelyn}", r"Evelyn"),
    (r"137.5\text{ degrees}", r"137.5^\circ"),
    (r"2^{4950}", r"4^{2475}"),
    (r"10{,}000", r"10000"),
    (r"10{,}000", r"10,000"),
    (r"10,\!000", r"10000"),
    (r"50\%", r"50"),
    (r"50\%", r"50%"),
    (r"\frac{1}{2}", r"0.5"),
    (r"\dfrac12", r"\frac{1}{2}"),
    (r"\tfrac{3}{4}", r"3/4"),
    (r"18^\circ", r"18"),
    (r"18^{\circ}", r"18 \text{ degrees}"),
    (r"\$12.50", r"12.5"),
    (r"180\text{ miles}", r"180"),
    (r"180\text{ miles}", r"180 miles"),
    (r"428\text{ square centimeters}", r"428\text{ cm}^2"),
    (r"428\text{ square centimeters}", r"428\ \mathrm{cm}^2"),
    (r"2400 \mbox{ cm}^2", r"2400"),
    (r"6\frac{1}{6}\text{ feet}", r"\frac{37}{6}"),
    (r"6\frac16", r"6 \frac{1}{6}"),
    (r"-1\frac12", r"-\frac{3}{2}"),
    (r"\text{Wednesday}", r"Wednesday"),
    (r"\text{Wednesday}", r"wednesday"),
    (r"\mbox{four}", r"4"),
    (r"\mbox{four}", r"four"),
    (r"\text{even}", r"Even"),
    (r"\text{(A)}", r"A"),
    (r"\text{(A)}", r"(A)"),
    (r"A", r"(A)"),
    (r"\text{(E)},", r"\textbf{(E)}"),
    (r"(\text{H})", r"H"),
    (r"\text{(B)}", r"(B) 12"),
    (r"\text{A,B,C}", r"A, B, C"),
    (r"\text{A,B}", r"B, A"),
    (r"\text{B,E}", r"\text{B and E}"),
    (r"(1,2)", r"(1, 2)"),
    (r"(1,2)", r"\left(1,2\right)"),
    (r"[1,2]", r"\left[1,\,2\right]"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"\{1,2\}", r"2, 1"),
    (r"1,2", r"2,1"),
    (r"-2 \text{ or } -12", r"-12, -2"),
    (r"2, 3, \text{ and } 4", r"2,3,4"),
    (r"6, 8\text{, and }10", r"6, 8, 10"),
    (r"(-\infty, 2) \cup (4, \infty)", r"(4,\infty)\cup(-\infty,2)"),
    (r"(-\infty,\infty)", r"(-\infty, +\infty)"),
    (r"x=5", r"5"),
    (r"5", r"x=5"),
    (r"5", r"x = 2+3 = 5"),
    (r"x \in [1,2]", r"[1,2]"),
    (r"y = 2x + 1", r"y = 1 + 2x"),
    (r"2x - y + 1 = 0", r"y = 2x + 1"),
    (r"AB=12+12\sqrt{3}", r"12(1+\sqrt3)"),
    (r"12\sqrt{13}\text{ feet}", r"\sqrt{1872}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\begin{pmatrix} -10 \\ 6 \end{pmatrix}", r"\begin{bmatrix} -10 \\ 6\end{bmatrix}"),
    (r"\begin{pmatrix} 1/2 \\ 0 \end{pmatrix}", r"\begin{pmatrix} 0.5 \\[2pt] 0 \end{pmatrix}"),
    (
        r"\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix}",
        r"\begin{pmatrix} 1 & -1 \\ 1 & 1 \end{pmatrix}",
    ),
    (r"(x+1)^2", r"x^2+2x+1"),
    (r"-(ab + ac + bc)", r"-ab-bc-ca"),
    (r"2 \sin b \cos a", r"2\cos(a)\sin(b)"),
    (r"3 \sec \frac{1}{2} \theta", r"3\sec\left(\frac{\theta}{2}\right)"),
    (r"2^{n - 1}", r"\frac{2^n}{2}"),
    (r"52_8", r"52_{8}"),
    (r"52_8", r"52"),
    (r"8\!:\!34 \text{ p.m.}", r"8:34 PM"),
    (r"05:00", r"5:00"),
    (r"1:2", r"1 : 2"),
    (r"\frac{1}{7}\triangle ABC", r"\frac17 \triangle ABC"),
    (r"0.\overline{3}", r"\frac13"),
    (r"1 \pm \sqrt{2}", r"1+\sqrt2, 1-\sqrt2"),
    (r"1 \pm \sqrt{2}", r"1 \pm \sqrt 2"),
    (r"\approx 8.24 \text{ mph}", r"8.24"),
    (r"s^2 \le 8r^2", r"8r^2 \ge s^2"),
    (r"1 < x < 2", r"(1,2)"),
    (r"x < 5", r"(-\infty, 5)"),
    (r"4319 \text{ dollars}", r"\$4319"),
    (r"21\text{ dogs}", r"21 dogs"),
    (r".039", r"0.039"),
    (r"097", r"97"),
    (r"1 + i, 1 - i", r"1-i, 1+i"),
    (r"\sin 30^\circ", r"\frac12"),
    (r"\binom{5}{2}", r"10"),
    (r"\text{October 30}", r"October 30"),
    (r"100,200", r"100, 200"),
    (r"2{,}016{,}532", r"2016532"),
    (r"\frac 35", r"0.6"),
    (r"$\frac{1}{2}$", r"\(0.5\)"),
    (r"7\text{ hours}.", r"7 hours"),
    (r"\emptyset", r"\varnothing"),
    (r"\sqrt[3]{2}", r"2^{1/3}"),
    (r"1.0\times 10^{3}", r"1000"),
    (r"3.2 \cdot 10^{-2}", r"0.032"),
    (r"\left( 2 \sqrt{2}, \frac{5 \pi}{4} \right)", r"(\sqrt{8}, \frac{5}{4}\pi)"),
    (r"2\sqrt5", r"2 \sqrt {5}"),
    (r"2x-8", r"2(x-4)"),
    (r"n", r"n"),
    (r"20", r"20.0"),
    (r"\text{D}", r"\textbf{D}"),
    (r"\text{neither}", r"neither"),
    (r"6 1/6", r"\frac{37}{6}"),
    (r"10\,000", r"10000"),
    (r"10 000 000", r"10000000"),
    (r"(x,y)=(1,2)", r"(1,2)"),
    (r"(1,2)", r"(x,y)=(1,2)"),
    (r"(1,2)", r"x=1, y=2"),
    (r"5, 7", r"x = 5 \text{ or } x = 7"),
    (r"5, 7", r"x = 5 or x = 7"),
    (r"2, -2", r"x = \pm 2"),
    (r"\text{B,E}", r"\text{B and E}"),
    (r"\text{Softball, Kickball, Picnic}", r"Softball, Kickball, Picnic"),
    (r"\cos(6^\circ)\sin(12^\circ)\csc(18^\circ)", r"\sin 12^\circ \cos 6^\circ \csc 18^\circ"),
    (r"\tan 45^\circ", r"1"),
    (r"5", r"2+3=5"),
    (r"30", r"\angle ABC = 30^\circ"),
    (r"1,\!722", r"1722"),
    (r"\log\left(\frac{2007}{2006}\right)", r"\log 2007 - \log 2006"),
    (r"\frac{\sqrt{6} - \sqrt{2}}{4}", r"\frac{\sqrt{2}(\sqrt3-1)}{4}"),
    (r"|x|", r"|x|"),
    (r"\lfloor x \rfloor", r"\lfloor x\rfloor"),
    (r"\text{(C)}", r"\text{C}"),
    (r"[2 \sqrt{2},4]", r"[\sqrt{8},4]"),
    (r"\$\dfrac23 \approx \$0.67", r"\frac{2}{3}"),
    (r"\{4,5,7\}", r"\{7, 5, 4\}"),
    (r"5.0", r"5"),
    (r"\frac{10}{2}", r"5"),
    (r"5\text{ cm}", r"5 \, \text{cm}"),
    (r"(6,235^\circ)", r"(6, 235°)"),
    (r"-\frac{5}{3}.", r"-5/3"),
]

UNEQUAL = [
    (r"0.56 = 56\%", r"0.57"),
    (r"x+y=5", r"y"),
    (r"\sqrt{2}+\sqrt{3}", r"3.146264369941972342329135065715570445681647"),
    (r"\sqrt{2}+\sqrt{3}+10^{-30}", r"\sqrt{5+2\sqrt{6}}"),
    (r"50\%", r"0.5"),
    (r"0.5", r"50"),
    (r"0.5", r"50\%"),
    (r"(1,2)", r"[1,2]"),
    (r"[1,2]", r"(1,2)"),
    (r"(1,2]", r"[1,2)"),
    (r"(1,2)", r"\{1,2\}"),
    (r"(1,2)", r"(2,1)"),
    (r"\frac13", r"0.333"),
    (r"\frac13", r"0.3333333333"),
    (r"\frac{2}{3}", r"0.67"),
    (r"\pi", r"3.14159"),
    (r"\sqrt2", r"1.41421356"),
    (r"180\text{ miles}", r"180\text{ km}"),
    (r"5", r"-5"),
    (r"x", r"y"),
    (r"x=5", r"y=5"),
    (r"x", r"X"),
    (r"\text{A}", r"B"),
    (r"\text{even}", r"odd"),
    (r"\text{Wednesday}", r"Thursday"),
    (r"\text{A,B}", r"A"),
    (r"12", r"1.39"),
    (r"10000", r"9999\frac67"),
    (r"10{,}000", r"9999.857142857143"),
    (r"8\!:\!34 \text{ p.m.}", r"8:34 a.m."),
    (r"52_8", r"52_9"),
    (r"52_8", r"42"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"x^2+1", r"x^2-1"),
    (r"1,2", r"1,2,3"),
    (r"1,1,2", r"1,2,2"),
    (r"(-\infty, 2)", r"(-\infty, 2]"),
    (r"6\frac16", r"6\cdot\frac16"),
    (r"2 < x < 3", r"(2, 4)"),
    (r"x < 5", r"x > 5"),
    (r"x<5", r"x \le 5"),
    (r"y=2x", r"y=3x"),
    (r"100,200", r"100200.5"),
    (r"1:2", r"2:1"),
    (r"\text{CBAD}", r"\text{ABCD}"),
    (r"\frac{3}{8}", r"\frac{5}{16}"),
    (r"28", r"\sqrt{34}+3\sqrt{10}"),
    (r"5", r"5x"),
    (r"\infty", r"-\infty"),
    (r"1", r"1+10^{-20}"),
    (r"2^{100}", r"2^{100}+1"),
    (r"[5.8,6)", r"(5.8,6)"),
    (r"\sqrt{x^2}", r"x"),
    (r"6 1/6", r"\frac{61}{6}"),
    (r"\pi", r"3.14159265358979"),
    (r"\pi", r"3.141592653589793238462643"),
    (r"\sqrt{2}", r"1.4142135623730950488"),
    (r"1/3", r"0.33333333333333333333333"),
    (r"2 3", r"23"),
    (r"\sin 30^\circ", r"30"),
    (r"\text{B,E}", r"\text{B and D}"),
    (r"10\pi", r"10"),
    (r"\text{A}", r"5"),
    (r"5", r"\text{five apples}"),
    (r"5\text{ cm}", r"5\text{ cm}^2"),
    (r"(a, b)", r"(1, 2)"),
    (r"x^2 + 1 = 0", r"0"),
    (r"x+y=5", r"5"),
    (r"5", r""),
    (r"5", r"   "),
    (r"5", r"\boxed"),
]


@pytest.mark.parametrize(("solution", "answer"), BOXES)
def test_the_answer_is_the_content_of_the_last_closed_box(
    solution: str, answer: str | None
) -> None:
    assert last_box(solution) == answer


def test_thousands_of_boxes_are_read_in_one_pass() -> None:
    assert last_box(r"\boxed{" * 20_000 + "5" + "}" * 20_000) == "5"
    assert last_box(r"\boxed{" * 20_000 + "}") is None
    assert read_answer(r"\boxed{5}, " * 20_000) == "5"
    assert read_answer(r"\boxed{5} so " * 20_000) == "5"


def test_a_thousand_different_boxes_are_read_in_a_moment() -> None:
    started = time.process_time()
    answer = read_answer(", ".join(rf"\boxed{{\sqrt{{{n}}}+0.{n}}}" for n in range(2, 1002)))
    assert answer is not None
    assert answer.count(",") == 999
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("reference", "answer"), EQUAL)
def test_equal_answers_in_different_spellings(reference: str, answer: str) -> None:
    assert equal(reference, answer, SETTINGS)


@pytest.mark.parametrize(("reference", "answer"), UNEQUAL)
def test_different_answers_that_look_alike(reference: str, answer: str) -> None:
    assert not equal(reference, answer, SETTINGS)


@pytest.mark.parametrize(("reference", "answer"), EQUAL + UNEQUAL)
def test_the_quick_path_never_contradicts_algebra(reference: str, answer: str) -> None:
    verdict = quick(reference, answer, SETTINGS)
    assert verdict is None or verdict == equal(reference, answer, SETTINGS)


@pytest.mark.parametrize(
    ("reference", "answer", "strict", "lenient"),
    [
        (r"50\%", "0.5", False, True),
        ("0.5", "50%", False, True),
        (r"50\%", r"\frac12", False, True),
        (r"50\%", "50", True, True),
        ("50", "0.5", False, False),
        ("0.5", "50", False, False),
    ],
)
def test_a_percent_sign_is_a_unit_unless_told_otherwise(
    reference: str, answer: str, strict: bool, lenient: bool
) -> None:
    assert equal(reference, answer, SETTINGS) is strict
    assert equal(reference, answer, PERCENT) is lenient


@pytest.mark.parametrize("reference", ["100,200", "100, 200", r"100,\ 200"])
@pytest.mark.parametrize("written", ["100,200", "100, 200", r"100,\, 200"])
def test_a_list_of_three_digit_numbers_is_not_lost_in_a_thousand(
    reference: str, written: str
) -> None:
    answer = read_answer(rf"\boxed{{{written}}}")
    assert answer is not None
    assert equal(reference, answer, SETTINGS)
    assert not equal(reference, "100, 201", SETTINGS)


@pytest.mark.parametrize(
    ("answer", "stored"),
    [
        (r"10{,}000", "10000"),
        (r"\dfrac12", r"\frac12"),
        (r"$\left(1,\,2\right)$", "(1, 2)"),
        (r"\$5.", r"\$5"),
        (r"18^{\circ}", "18°"),
    ],
)
def test_answers_are_stored_in_one_spelling(answer: str, stored: str) -> None:
    assert normal(answer) == stored
    assert read_answer(rf"so \boxed{{{answer}}}") == stored


@pytest.mark.parametrize(
    "answer",
    ["", "  ", "$$", r"\frac{1}{", "}", "5 +", "=5", r"\sqrt", r"\frac{1}", "(5", "@#", "1..2",
     "(" * 1500, "x+" * 800 + "x"],
)  # fmt: skip
def test_a_reference_that_nothing_can_equal_is_refused(answer: str) -> None:
    with pytest.raises(InputError):
        check_reference(answer)


def test_a_reference_that_takes_for_ever_to_read_is_unusual() -> None:
    with pytest.raises(UnusualAnswer, match="can't be parsed"):
        check_reference(r"\gcd(9^{9^{9}},2)")
    check_reference(r"\lfloor x \rfloor")


@pytest.mark.parametrize("reference", [reference for reference, _ in EQUAL])
def test_the_references_of_the_tables_are_accepted(reference: str) -> None:
    check_reference(reference)


@pytest.mark.parametrize(
    "monster",
    ["(" * 1500, "{" * 900 + "}" * 900, "a " * 900, r"\text{a} " * 200, "1," * 900, "9^9^9^9",
     "9^{9^{9^9}}", "100!!", "1/0", "0^{-1}", r"\pm" * 200, "|" * 700, "9" * 1900, "1e999",
     r"\begin{pmatrix}" * 80, r"\sqrt[0]{5}", r"\binom{5}{-1}", "\x00", "\ud800", "٣", "x_{",
     "x>10^{400}+2", r"\{2^{2024}, 5\}", "(10^{400}, 10^{500}]", "|x|<10^{400}+2"],
)  # fmt: skip
def test_no_answer_makes_the_quick_path_raise(monster: str) -> None:
    for other in ("5", r"\frac{1}{2}", "x>2", "[1,2)", monster + "1"):
        assert quick(other, monster, SETTINGS) is not True
        assert quick(monster, other, SETTINGS) is not True
    assert quick(monster, monster, SETTINGS)


PIECES = [*r"0123456789xyi+-*/^_(){}[],.=<>\%$ ", r"\frac", r"\text{", r"\sqrt", r"\pi", r"\left",
          r"\{", r"\boxed{", r"\cup", r"\pm", " or ", "5°C", r"\mathrm{i}"]  # fmt: skip
LATEX = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(LATEX)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert key(clean(clean(text))) == key(clean(text))


@given(LATEX, LATEX)
def test_the_quick_path_always_answers(reference: str, answer: str) -> None:
    assert quick(reference, answer, SETTINGS) in (True, False, None)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_fractions_are_exact(numerator: int, denominator: int) -> None:
    reference = rf"\frac{{{numerator}}}{{{denominator}}}"
    assert quick(reference, f"{numerator}/{denominator}", SETTINGS)
    assert quick(reference, rf"\frac{{{numerator * 7}}}{{{denominator * 7}}}", SETTINGS)
    assert quick(reference, rf"\frac{{{numerator * 10**9 + 1}}}{{{denominator}000000000}}",
                 SETTINGS) is False  # fmt: skip


@given(st.text(max_size=60))
def test_opened_boxes_leave_no_closed_box(text: str) -> None:
    opened = open_boxes(rf"\boxed{{{text}}}")
    assert last_box(opened) is None or r"\boxed" in text
