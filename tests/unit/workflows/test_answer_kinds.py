# ruff: noqa: E501  tables
r"""Answers by kind of spelling: what is equal, and what only looks so.

Each kind was met in the reports of people who grade real models; the pairs are our own.
"""

from __future__ import annotations

import random
import time

import mpmath
import pytest

from workflows.answers import equal, normal, quick, read_answer
from workflows.settings import AnswerSettings

SETTINGS = AnswerSettings()

Pair = tuple[str, str]

EQUAL: dict[str, list[Pair]] = {
    "units": [
        (r"\$25", r"25 \text{ dollars}"), ("25", r"\$25"), (r"\$25.00", "25"), ("25 USD", r"\$25"),
        (r"\$1,200", "1200"), (r"\$2.50", "$2.50"), (r"25\%", r"25 \text{ percent}"),
        (r"5 \text{ million}", "5000000"), (r"\$3.2 \text{ million}", "3200000"),
        ("60 mph", r"60 \text{ miles per hour}"), (r"\text{€}5", "5"),
        ("30°C", r"30^\circ\text{C}"), (r"\$20", r"20\text{ dollars in total}"),
        (r"20\text{ sq units}", r"20 \text{ square units}"),
        (r"7\text{ apples}", r"7\text{ pieces of fruit}"),
    ],
    "chains": [
        ("5", "2+3=5"), ("5", "m+n=5"), ("5", "x=2+3=5"), ("9y", "2y+3y+4y=9y"), ("16", "x^2=16"),
        (r"25\pi", r"A=\pi r^2 = 25\pi"), ("12", "AB=12"),
        (r"\frac{1}{2}", r"P(A) = \frac{3}{6} = \frac{1}{2}"), ("0.5", r"\frac12=0.5"),
        ("60", r"\angle ABC=60^\circ"), ("7", "a+b+c=7"), (r"\frac23", r"\frac{a}{b}=\frac23"),
        ("5", "5=x"), ("3", "|z|=3"), ("14", "r=14"), (r"e=\frac12", r"\frac12"),
        ("50", r"0.5=50\%"), ("4", "f(2)=2^2=4"), ("10", "S_{10}=10"),
        (r"2\sqrt2", r"\sqrt8=2\sqrt2"), ("12", r"3\cdot 4=12"), ("1", r"\sin^2 x+\cos^2 x=1"),
    ],
    "sets": [
        (r"(2,\infty)", "x>2"), ("x>2", r"(2,\infty)"), (r"[2,\infty)", r"x\ge 2"),
        (r"(2,\infty)", "2<x"), (r"(-\infty,1)\cup(3,\infty)", r"x<1 \text{ or } x>3"),
        (r"(-\infty,1)\cup(3,\infty)", "x<1, x>3"), ("(1,3)", r"x>1 \text{ and } x<3"),
        (r"(-\infty,-4)\cup(-4,\infty)", r"\{x \mid x\neq -4\}"),
        (r"\mathbb{R}\setminus\{-4\}", r"x\ne-4"),
        (r"\mathbb{R}\setminus\{1,2\}", r"(-\infty,1)\cup(1,2)\cup(2,\infty)"),
        (r"x\ne 1, x \ne 2", r"\mathbb{R}\setminus\{1,2\}"), (r"\mathbb{R}", r"(-\infty,\infty)"),
        (r"\mathbb{R}", r"\text{all real numbers}"),
        (r"(-\infty,\infty)", r"\text{All real numbers}"),
        (r"(-\infty,\infty)", r"-\infty<x<\infty"), (r"\{1,2,3\}", r"\{1,2,2,3\}"),
        (r"\{1\}\cup\{2\}", r"\{1,2\}"), ("[-3,3]", r"|x|\le 3"),
        (r"(-\infty,-3)\cup(3,\infty)", "|x|>3"), (r"[a,\infty)", r"x \ge a"),
        ("(a,b]", r"a<x\le b"), (r"[1,2]\cup[2,3]", "[1,3]"), ("(0,8.5)", "0<x<8.5"),
        (r"\left[-\frac12,\infty\right)", r"x \ge -0.5"),
        (r"\left(\sqrt2,\infty\right)", r"x>\frac{2}{\sqrt2}"),
        (r"(-\infty,4)\cup(4,\infty)", r"\mathbb{R}-\{4\}"), (r"\{-2,2\}", r"\pm 2"),
        (r"\{-2,2\}", r"x=\pm2"), (r"y \ge 3", r"[3,\infty)"), (r"x \in [1,2)", r"1 \le x < 2"),
        ("[0,1)", r"\{x : 0\le x<1\}"), (r"\{x|x>2\}", r"(2,\infty)"),
        ("4210_{5}", r"4210_{\text{five}}"), ("4210_5", "4210 (base 5)"),
        ("4210_5", r"4210 \text{ (base 5)}"), ("4210_5", r"4210_{\text{base }5}"),
        (r"-4\le x\le4", "[-4,4]"), (r"x\leq -1 or x \geq 1", r"(-\infty,-1]\cup[1,\infty)"),
        (r"(-\infty, 2)", r"x<2 \text{ (interval notation)}"),
        (r"(10^{400},\infty)", "x>10^{400}"), (r"\{2^{2024}, 5\}", r"\{5, 4^{1012}\}"),
    ],
    "programs": [
        (r"2\sqrt3", "2*sqrt(3)"), (r"\frac{\sqrt3}{2}", "sqrt(3)/2"), (r"\frac{\pi}{6}", "pi/6"),
        (r"\ln 2", "ln(2)"), (r"\log_2 3", "log2(3)"), ("x^2+1", "x^2 + 1"), ("x^{10}", "x**10"),
        ("2^{100}", "2^100"), (r"\frac{1}{x+1}", "1/(x+1)"), (r"\sqrt[3]{2}", "cbrt(2)"),
        (r"\sqrt[3]{2}", "2**(1/3)"), ("e^2", "exp(2)"), (r"[0,\infty)", "[0, inf)"),
        (r"(-\infty,1)\cup(2,\infty)", "(-oo, 1) U (2, oo)"), (r"x\ge3", "x >= 3"),
        (r"-2\le x<3", "-2 <= x < 3"), (r"\theta", "theta"), (r"\sin\theta", "sin(theta)"),
        (r"\frac{5\pi}{6}", "5*pi/6"), (r"\frac{5\pi}{6}", "5pi/6"), ("10^{-5}", "1.0e-5"),
        ("1+2i", "1+2*I"), ("1+2i", "1 + 2j"), (r"\frac{1+\sqrt5}{2}", "(1+sqrt(5))/2"),
        (r"\frac{1+\sqrt5}{2}", "(1 + 5**0.5)/2"), (r"x=\pm\sqrt2", "x = +-sqrt(2)"),
        (r"\{1,2\}", "{1, 2}"), (r"\binom{5}{2}", "binomial(5,2)"), ("120", "5!"),
        (r"\arcsin\frac12", "asin(1/2)"), ("|x|", "abs(x)"), (r"\frac{3}{4}", "(3)/(4)"),
        (r"-\frac{3}{4}", "-(3/4)"), (r"a \cdot b", "a*b"), (r"\tan^{-1} 2", "arctan(2)"),
    ],
    "unicode": [
        (r"\frac12", "½"), (r"3\frac12", "3½"), ("x^2", "x²"), ("x^{10}", "x¹⁰"), ("x^{-1}", "x⁻¹"),
        (r"\sqrt2", "√2"), (r"2\sqrt{3}", "2√3"), (r"\sqrt{x+1}", "√(x+1)"), ("a_1", "a₁"),
        (r"\theta", "θ"), (r"90^\circ", "90º"), ("90°", "90˚"), ("12", '12\u200b'),
        ("12", '\ufeff12'), ("-5", "−5"), ("-5", "–5"), (r"x\ne3", "x≠3"), (r"\mathbb{R}", "ℝ"),
        (r"\emptyset", "∅"), (r"(-\infty,3]", "(−∞, 3]"), (r"\frac{2}{3}", "2⁄3"), ("3", "３"),
        (r"\frac{\sqrt{3}}{2}", "√3/2"), (r"5\sqrt[3]{2}", "5∛2"), (r"30\text{ cm}^2", "30 cm²"),
        (r"x \in \mathbb{R}", "x∈ℝ"), (r"\pm2", "±2"), (r"\Delta", "Δ"), (r"\frac{7}{8}", "⅞"),
        ("1,2", "1，2"), ("(1,2)", "（1，2）"), (r"2\pi r", "2πr"), ("10^{-3}", "10⁻³"),
        (r"\text{m}^2", "m²"),
    ],
    "words": [
        ("12", "Answer: 12"), ("12", "The answer is 12"), ("12", "the answer is 12."),
        ("12", r"\text{Answer: } 12"), ("12", r"\text{Answer: 12}"),
        ("12", r"\text{Final answer: }12"), ("12", r"\textbf{The final answer is } 12"),
        ("7", "7 (at x=2)"), ("7", r"7\text{ (at }x=2\text{)}"), ("x=2", "x=2 (the only solution)"),
        ("2", r"x=2\text{ (double root)}"), ("7", r"7 \text{ at } x=2"),
        ("7", r"7 \text{ when } x=2"), ("2x+1", r"2x+1 \text{ for all real } x"),
        ("2x+1", r"2x+1, \text{ where } x \in \mathbb{R}"), ("12", r"12 \text{ (approximately)}"),
        ("12", r"\boxed{12}"), ("3", r"\text{There are } 3 \text{ solutions}"),
        ("5", r"\text{She has } 5 \text{ apples}"), ("B", r"\text{Option B}"), ("B", "(B)"),
        ("C", r"\text{(C) }5"), ("12", r"12 \text{ square units}"), ("24", r"\text{Area} = 24"),
        ("24", r"\text{Area: }24"), (r"\frac12", r"\text{probability} = \frac12"),
        ("12", r"\text{Total: } 12 \text{ ways}"), ("12", "Result = 12"),
        ("n=3k", r"n = 3k, k \in \mathbb{Z}"), ("12", r"\underline{12}"), ("12", r"12\checkmark"),
        ("12", r"\mathbf{12}"), ("12", r"\color{red}{12}"), ("12", r"\textcolor{blue}{12}"),
        ("12", r"12\;"), ("12", r"\fbox{12}"), ("12", r"12 \quad \blacksquare"),
    ],
    "systems": [
        ("(1,2)", "y=2, x=1"), ("(1,2)", "x=1 and y=2"), ("(1,2,3)", "x=1, y=2, z=3"),
        ("x=1,y=2", "(x,y)=(1,2)"),
    ],
    "others": [
        (r"\emptyset", r"\varnothing"), ("3x-y+13=0", "y=3x+13"), ("3x-y+13=0", "-3x+y-13=0"),
        ("x^2+y^2=4", "2x^2+2y^2=8"), (r"y=\frac{1}{2}x", "x-2y=0"), (r"\text{13}", "13"),
        ("13", r"\text{13}"), ("13", r"\mathrm{13}"), (r"17, 40, \text{ and } 75", "17,40,75"),
        ("17,40,75", "75, 17 and 40"), (r"1-\frac{1}{\mathrm{e}}", "1-e^{-1}"),
        (r"1-\frac1e", r"\frac{e-1}{e}"), (r"60^\circ", "60 degrees"), ("60", r"60^\circ"),
        ("f(x)=x^2", "x^2"), ("x^2", "f(x)=x^2"), ("x^2", "y=x^2"),
        ("p(x)=x^3-1", "p(x) = x^3 - 1"), (r"\text{Marion}", "Marion"),
        (r"\text{Marion}", "marion"), ('"42"', "42"), ("42", "'42'"), ("42", "``42''"),
        ("3k", "n=3k"), (r"\dbinom{10}{3}", r"\binom{10}{7}"), (r"\text{(B)}", "B"),
        ("B", r"\textbf{(B)}"), ("B", "B."), ("B", "B) 12"), ("B", "(B) 12"),
        (r"\text{(B)}", r"\text{B: } 12"), ("i", r"\sqrt{-1}"),
        (r"\log_2 3", r"\frac{\log 3}{\log 2}"), (r"0.\overline{36}", r"\frac{4}{11}"),
        (r"0.\dot{3}", r"\frac13"), (r"3\frac15", "3.2"), (r"3 \frac{1}{5}", "16/5"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\left[\begin{array}{cc}1&2\\3&4\end{array}\right]"),
        (r"(5,\frac{\pi}{4})", r"\left(5,\dfrac{\pi}{4}\right)"),
        (r"(5,\frac{\pi}{4})", r"(5, 0.25\pi)"), ("-3,1,9", "9, 1, -3"), ("-3,1,9", r"\{1,-3,9\}"),
        ("2x^{12}", "2 x^{12}"), (r"\frac{0.5a}{b}/0.5", r"\frac{a}{b}"),
        (r"a=1 \text{ or } a=-2", "1, -2"), ("1,-2", r"a=-2 \text{ or } a=1"),
        (r"x\ge3", r"3\le x"), ("x>3", "3<x"), (r"3 \le x", r"x\ge3"), ("1:2:3", "1 : 2 : 3"),
        ("50", r"50\%"), (r"50\%", "50 percent"), (r"\frac{3}{4}", r"\frac{3}{4}\approx0.75"),
        (r"\frac{3}{4}", r"\frac34 = 0.75"), ("D=(0,2)", "(0,2)"), ("(0,2)", "D=(0,2)"),
        (r"\sqrt{50}", r"5\sqrt2"), ("6", r"\mathbf{6}"), ("6", r"\textit{6}"), ("6", "{6}"),
        ("6", r"\displaystyle 6"), ("6", r"\large 6"), ("6", r"\Large{6}"), ("6", r"\,6\,"),
        ("6", '6\\\\'), ("6", "$6$"), ("6", r"\(6\)"), ("6", "6."), ("6", "+6"), ("a_{n}=2n", "2n"),
        ("a_n=2n", "a_{n} = 2n"), ("2^{101}", "2*2^{100}"),
        (r"\frac{2^{101}+1}{3 \cdot 2^{102}}", r"\frac{1}{6}+\frac{1}{3\cdot2^{102}}"),
        (r"\infty", r"+\infty"), (r"\text{undefined}", "undefined"), (r"\text{Yes}", "yes"),
        (r"\text{True}", "true"), (r"\text{even}", r"\text{Even}"),
        ("(1,2), (3,4)", "(3,4), (1,2)"), ("(1,2)", "(1,2)"), ("x^2-1", "(x-1)(x+1)"),
        ("(x-1)(x+1)", "(x+1)(x-1)"), (r"\frac{x+1}{2}", r"\frac{1}{2}x+\frac12"),
        ("e^{x+1}", r"e\cdot e^x"), (r"\ln 8", r"3\ln2"), (r"2\cos^2x-1", r"\cos 2x"),
        ("|x-1|", "|1-x|"), (r"\sqrt{12}", "12^{1/2}"), ("1{,}000{,}000", "1000000"),
        ("1,000,000", "10^6"), ("0.5", ".5"), ("0.50", "0.5"), ("7", "7.00"),
        (r"1.5 \times 10^3", "1500"), (r"\frac{7}{2}", r"3\tfrac12"), (r"\frac{-7}{2}", "-3.5"),
        ("3 + 4i", "4i+3"), ("3+4i", r"3+4\mathrm{i}"), ("12:30", "12:30"),
        (r"2:30 \text{ PM}", "2:30 p.m."), (r"\text{Monday}", "monday"),
        (r"\text{July 4}", "July 4"), (r"10\text{ cm}", "10cm"),
        (r"10\text{ cm}", r"10\,\mathrm{cm}"), (r"10\text{ cm}^2", r"10\text{ square cm}"),
        (r"\$10", "10 dollars"), ("10", r"10 \text{ people}"), ("(-1,0]", r"-1<x\le0"),
        ("C", r"\text{C}"), ("E", r"\boxed{E}"), ("E", "Answer: E"), ("E", "The answer is (E)"),
        ("E", r"\text{(E) None of the above}"), ("3, 5", r"3 \text{ and } 5"), ("3,5", "3; 5"),
        (r"2\pm\sqrt3", r"2+\sqrt3, 2-\sqrt3"), (r"x=2\pm\sqrt3", r"2-\sqrt3,2+\sqrt3"),
        (r"\{2\}", "2"), ("2", r"\{2\}"), ("[2]", "[2]"), (r"\frac{1}{2},\frac{1}{3}", "1/3, 1/2"),
        ("1/2", r"\frac{1}{2}"), ("f^{-1}(x)=x+1", "x+1"), ("f'(x)=2x", "2x"), ("2x", "f'(x)=2x"),
        ("y=2x+1", "2x-y+1=0"), ("AB=9, CD=4", "CD=4, AB=9"), ("x=1,y=2", "(1,2)"),
        (r"\left(1,2\right)", r"x=1,\ y=2"), (r"\text{3 hours}", "3"),
        (r"3\text{ hours}", r"3 \text{ hr}"), ("n=2k+1", "2k+1"),
        (r"n=2k+1, k\in\mathbb{Z}", "2k+1"), (r"\frac{\pi}{4}+k\pi", r"k\pi+\frac{\pi}{4}"),
        (r"2\sqrt{3}\text{ units}", r"2\sqrt3"), (r"-\infty", "-inf"),
        (r"\text{no solution}", r"\text{No solution}"), (r"\text{no solution}", "no solution"),
        (r"\text{no solutions}", "No solutions."), ("101_2", "101_{2}"),
        ("101_2", r"101_{\text{two}}"), ("(1,2]", r"\left(1,2\right]"), (r"2\%", r"2 \%"),
        (r"\tfrac{5}{6}", r"\frac 5 6"), (r"\frac{5}{6}", "5 / 6"), (r"\frac{5}{6}", r"\frac{5}6"),
        (r"x \in \{1,2\}", r"\{1,2\}"), ("1, 2", r"x \in \{1, 2\}"), (r"x\in(1,2)", "1<x<2"),
    ],
    "more": [
        ("x<5", r"(-\infty,5)"), (r"(-\infty,5)", r"x \lt 5"), (r"(-\infty,5)", "5>x"),
        ("[1,4]", r"1 \leqslant x \leqslant 4"), ("[1,4]", r"4\ge x\ge1"),
        ("(1,4)", r"\{x: 1<x<4\}"), ("(1,4)", r"\{x \in \mathbb{R} \mid 1 < x < 4\}"),
        ("(1,4)", r"x \in (1,4)"), ("(1,4)", "1<t<4"),
        (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}\backslash\{0\}"),
        (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}\setminus \left\{0\right\}"),
        (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R} - \{0\}"),
        (r"(-\infty,0)\cup(0,\infty)", r"x\not=0"),
        (r"(-\infty,0)\cup(0,\infty)", r"x \in \mathbb{R}, x \neq 0"),
        (r"(-\infty,0)\cup(0,\infty)", r"\text{all real numbers except } 0"),
        (r"(-\infty,0)\cup(0,\infty)", r"x \neq 0 \text{ (all other reals)}"),
        (r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)", r"x \ne \pm 1"),
        (r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)", r"\mathbb{R}\setminus\{-1,1\}"),
        (r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)", r"x \neq -1, 1"),
        (r"(-\infty,-1)\cup(-1,1)\cup(1,\infty)", r"x\ne-1 \text{ and } x\ne1"),
        (r"(-\infty,\infty)", r"x \in \mathbb{R}"), (r"\mathbb{R}", r"x\in\mathbb R"),
        (r"\mathbb{R}", r"(-\infty,+\infty)"), (r"\mathbb{R}", r"-\infty < x < \infty"),
        (r"\mathbb{R}", r"\mathbb{R}"), (r"\mathbb{R}", r"\Bbb{R}"),
        (r"\mathbb{R}", r"\text{all reals}"), (r"\{1\}\cup[2,3]", r"[2,3]\cup\{1\}"),
        (r"\{1\}\cup[2,3]", r"x=1 \text{ or } 2\le x\le3"),
        (r"[2,3]\cup\{1\}", r"\{1\}\cup\{2\}\cup(2,3]"), (r"\{-1,0,1\}", r"\{0,\pm1\}"),
        (r"\{-1,0,1\}", "-1,0,1"), (r"\{a,b\}", r"\{b,a\}"), (r"\{a,b\}", r"\{a,b,a\}"),
        (r"(0,\infty)", "x>0"), (r"(0,\infty)", r"\mathbb{R}^+"), (r"[0,\infty)", r"x\ge0"),
        (r"(\frac12,\infty)", "x>0.5"), (r"(-\infty,\sqrt2]", r"x\le\sqrt2"),
        (r"(-\infty,-\frac{1}{2})\cup(3,\infty)", r"x<-\frac12\text{ or }x>3"),
        (r"(-\infty,-\frac{1}{2})\cup(3,\infty)", r"(3,\infty)\cup(-\infty,-0.5)"),
        ("(-2,3)", "-2<x<3"), ("-2<x<3", "(-2,3)"), (r"x\in[-2,3]", r"-2\le x\le3"),
        ("k>4", r"(4,\infty)"), (r"a\le-1", r"(-\infty,-1]"),
        (r"y\ne 2", r"(-\infty,2)\cup(2,\infty)"), ("1A_{16}", "1A"), ("110_2", "110_{2}"),
        ("110_2", r"110_{\mathrm{two}}"), ("110_2", "110_{(2)}"), ("110_2", "(110)_2"),
        ("2041_{5}", "2041_5"), ("2041_5", r"2041\text{ in base }5"),
        ("2041_5", r"2041_\text{five}"), (r"2041_{\text{five}}", "2041_5"), (r"\frac{1}{2}", "1/2"),
        (r"\frac{\sqrt{3}+1}{2}", "(sqrt(3)+1)/2"), (r"\frac{\sqrt{3}+1}{2}", "(1+sqrt(3))/2"),
        (r"3\sqrt{2}-1", "3*sqrt(2)-1"), ("e^{2x}", "exp(2*x)"), ("e^{2x}", "e^(2x)"),
        ("e^{2x}", "e**(2*x)"), (r"\ln(x+1)", "ln(x+1)"), (r"\log_{10}5", "log10(5)"),
        (r"\sin^2x", "sin(x)^2"), (r"\sin^2 x", "sin^2(x)"), (r"\cos(3x)", "cos(3*x)"),
        (r"\tan\frac{\pi}{8}", "tan(pi/8)"), (r"2\sin x\cos x", "2*sin(x)*cos(x)"),
        (r"x\le-2", "x<=-2"), (r"x\ge 0", "x>=0"), (r"-1<x\le4", "-1 < x <= 4"), (r"x\ne1", "x!=1"),
        (r"\pm3", "+-3"), (r"\pm3", "+/- 3"), (r"\infty", "inf"), (r"\infty", "oo"),
        (r"-\infty", "-infinity"), (r"(-\infty,2]", "(-inf, 2]"),
        (r"(-\infty,2)\cup(5,\infty)", "(-inf,2)U(5,inf)"),
        (r"(-\infty,2)\cup(5,\infty)", "(-infinity, 2) union (5, infinity)"),
        (r"\sqrt[4]{5}", "5^(1/4)"), (r"\sqrt[4]{5}", "5**(1/4)"), ("2^{n+1}", "2^(n+1)"),
        ("2^{n+1}", "2**(n+1)"), ("a_1", "a_1"), (r"\theta", "theta"),
        (r"\alpha+\beta", "alpha+beta"), (r"\frac{2\pi}{3}", "2pi/3"),
        (r"\frac{2\pi}{3}", "2*pi/3"), (r"\frac{2\pi}{3}", "(2/3)pi"),
        (r"\lfloor x\rfloor", "floor(x)"), (r"\lceil x\rceil", "ceil(x)"), ("|x-1|", "abs(x-1)"),
        ("5!", "5!"), (r"\frac{a}{b+c}", "a/(b+c)"), ("3+4i", "3+4*i"), ("3-i", "3-1i"),
        ("10^{6}", "1e6"), (r"1.5\cdot10^{-3}", "1.5e-3"), (r"\sqrt{2}/2", "sqrt(2)/2"),
        ("x^{1/2}", "sqrt(x)"), (r"\arccos\frac13", "acos(1/3)"),
        (r"\arcsin\frac13", "arcsin(1/3)"), ("x^2 y", "x^2*y"), ("x^{2}y^{3}", "x**2*y**3"),
        (r"\pi r^2", "pi*r^2"), (r"\pi r^2", "pi r^2"), ("(1,2)", "(1, 2)"), (r"\sqrt{5}", "√5"),
        (r"\sqrt{5}", "sqrt 5"), (r"\sqrt{5}", "Sqrt[5]"), (r"\sqrt{5}", "sqrt{5}"),
        (r"\frac{3}{4}", "frac{3}{4}"), (r"\frac{1}{4}", "¼"), (r"1\frac{1}{4}", "1¼"),
        ("x^3", "x³"), ("x^{n}", "xⁿ"), ("2^{10}", "2¹⁰"), ("10^{-2}", "10⁻²"), ("a_{12}", "a₁₂"),
        ("x_1=2, x_2=3", "x₁=2, x₂=3"), (r"\beta", "β"), (r"\lambda", "λ"), (r"\Omega", "Ω"),
        (r"\sigma^2", "σ²"), (r"30^\circ", "30°"), (r"30^\circ", "30º"),
        (r"\angle A=30^\circ", "∠A=30°"), (r"x\ge2", "x≥2"), (r"x\ge2", "x⩾2"),
        (r"\{1,2\}", "{1,2}"), (r"\frac{\pi}{2}", "π/2"), (r"\frac{\pi}{2}", "½π"),
        (r"2\sqrt{2}", "2√2"), (r"2\sqrt{2}", "2·√2"), ("6", "２×３"), (r"x\in\mathbb{Z}", "x∈ℤ"),
        ("(−1, 2)", "(-1,2)"), ("5", '5\u200b'), ("5", '\u200e5'), ("5", '5\u2060'), ("5", '5\xa0'),
        ("5", "５。"), ("1000", '1\u202f000'), ("1000", '1\u2009000'), (r"\sqrt{x}", "√x"),
        (r"\sqrt{10}", "√10"), (r"\sqrt{10}", "√(10)"), (r"\frac{\sqrt{2}}{2}", "√2⁄2"),
        (r"3\times10^8", "3×10⁸"), (r"\cup", "∪"), (r"A\cap B", "A∩B"), (r"\emptyset", "∅"),
        (r"\emptyset", "{}"), (r"\emptyset", r"\{\}"), (r"-\frac12", "−½"), ("x=2", "𝑥=2"),
        ("x=2", "x＝2"), (r"50\%", "50％"), (r"\$5", "＄5"), (r"\frac{5}{8}", "⅝"), (r"\infty", "∞"),
        (r"\log_2 3", "log₂3"), (r"\log_2 3", "log₂(3)"), (r"x\ne0", "x≠0"), ("12", "Answer: $12$"),
        ("12", "Answer = 12"), ("12", "Answer is 12"), ("12", "The answer is: 12"),
        ("12", "The answer is $12$"), ("12", "The final answer is 12."), ("12", "Final Answer: 12"),
        ("12", r"final answer is \boxed{12}"), ("12", "So the answer is 12"),
        ("12", "Therefore, the answer is 12"), ("12", "answer: 12"), ("12", "ans: 12"),
        ("12", "**12**"), ("12", "**Answer:** 12"), ("12", "Answer: **12**"),
        ("12", "The value is 12"), ("12", r"\text{Value: }12"), ("12", "= 12"), ("12", ": 12"),
        ("12", "12 (exactly)"), ("12", "12 (by symmetry)"), ("12", r"12 \text{ (units)}"),
        ("12", r"12 \text{ (see above)}"), ("12", r"12\text{ (total)}"),
        ("12", r"12 \ (\text{total})"), ("12", r"12 \quad \text{(total)}"),
        ("12", r"12, \text{ as required}"), ("12", r"12 \text{ as required}"),
        ("12", r"x = 12 \text{ (since } x>0)"), ("12", r"12 \text{ is the answer}"),
        ("12", "12 is the answer"), ("(1,2)", r"\text{The point is }(1,2)"),
        ("(1,2)", "Answer: (1,2)"), ("(1,2)", r"(1,2) \text{ only}"), ("x=2", r"x=2 \text{ only}"),
        ("B", "Answer: B"), ("B", "The answer is B"), ("B", "Answer: (B)"), ("B", "B: 12"),
        ("B", r"\text{B. } 12"), ("B", r"\text{Option B}"), ("B", "Choice (B)"),
        ("3", r"3 \text{ is the minimum value}"), ("3", r"\text{The minimum value is } 3"),
        ("3", r"\text{min} = 3"), ("3", r"\text{Minimum value: } 3"), ("6", r"6\text{ (six)}"),
        ("6", r"\text{six}"), ("6", "six"), (r"\text{Alice}", "Alice"),
        (r"\text{Alice}", r"\text{Answer: Alice}"), (r"\text{Alice}", "The answer is Alice."),
        (r"\text{yes}", "Yes."), (r"\text{no}", "No"),
        ("2x+1", r"f(x)=2x+1 \text{ for } x \in \mathbb{R}"),
        ("2x+1", r"2x+1 \text{ where } x \text{ is real}"),
        ("3k", r"3k, \text{ where } k \text{ is an integer}"), ("3k", r"3k \ (k \in \mathbb{Z})"),
        ("3k", r"3k, k\in\mathbb{Z}"), ("3k", r"n=3k \text{ for some integer } k"), ("25", r"\$25"),
        (r"\$25", r"\$25.00"), (r"\$1.50", "1.5"), (r"\$1.50", r"\$1.5"), (r"\text{\$}25", "25"),
        (r"25\text{ dollars}", r"\$25"), (r"25 \text{ cents}", "25"), (r"25\text{ cents}", "25¢"),
        (r"30^\circ", r"30\text{ deg}"), ("30", "30°"), (r"5\text{ cm}", r"5 \text{ centimeters}"),
        (r"5\text{ m/s}", r"5 \text{ meters per second}"), (r"5\text{ m/s}", "5"),
        (r"12\text{ in}^2", r"12 \text{ square inches}"),
        (r"12\text{ cubic feet}", r"12\text{ ft}^3"), (r"2\text{ hours}", "2 hr"),
        (r"10\text{ km/h}", r"10\text{ kilometers per hour}"), (r"50\%", r"50\text{ percent}"),
        (r"50\%", r"0.5 = 50\%"), (r"\frac12\%", r"0.5\%"), (r"3 \text{ million}", "3{,}000{,}000"),
        ("3", r"3\text{ m}"), ("y=2x+3", "y-2x=3"), ("y=2x+3", "2x-y+3=0"),
        ("x^2+y^2=25", "y^2+x^2-25=0"), ("x^2+y^2=25", "25=x^2+y^2"),
        ("(x-1)^2+(y+2)^2=9", "x^2-2x+y^2+4y-4=0"),
        (r"\frac{x^2}{4}+\frac{y^2}{9}=1", "9x^2+4y^2=36"), ("x+2y=5", "2x+4y=10"),
        ("x+2y=5", "-x-2y=-5"), (r"y=\sqrt2x", r"\sqrt2x-y=0"),
        (r"\sqrt2 x+y=1", r"2x+\sqrt2y=\sqrt2"), ("y=x^2", "x^2=y"), ("3x-y+13=0", "y=3x+13"),
        ("x=3", "3=x"), (r"x = 3 \text{ or } x=-3", r"x=\pm3"), (r"x=\pm3", "3,-3"),
        ("a=1,b=2", "b=2, a=1"), ("a=1,b=2", "(a,b)=(1,2)"), ("(a,b)=(1,2)", "a=1, b=2"),
        ("(a,b)=(1,2)", "b=2,a=1"), ("(1,2)", "(x,y)=(1,2)"), ("(1,2),(2,1)", "(2,1),(1,2)"),
        ("(1,2),(2,1)", "(x,y)=(1,2),(2,1)"), ("(1,2),(2,1)", r"(1,2)\text{ and }(2,1)"),
        (r"\{(1,2),(2,1)\}", "(1,2),(2,1)"),
        ("x^2+1", "x²+1"), (r"\frac{x}{2}", "x/2"), ("0 < x < 8.5", "(0,8.5)"),
        ("x>0", r"(0,\infty)"), (r"[0,1)\cup(1,2]", r"[0,2]\setminus\{1\}"),
        (r"(-\infty,0)\cup(0,\infty)", r"(-\infty,\infty)\setminus\{0\}"),
        (r"\{x: x\neq 2\}", r"(-\infty,2)\cup(2,\infty)"), (r"[2,\infty)", r"\{x \mid x \geq 2\}"),
        (r"\left(-\infty,\frac{3}{2}\right]", r"x \leq 1.5"), ("(-1,3)", "|x-1|<2"), ("n=4", "4"),
        (r"\text{12 square units}", "12"), (r"12\pi", r"12\pi \text{ square inches}"),
        (r"\frac{5}{2}", r"2.5 \text{ hours}"), ("36", "36 square units"), ("8", "8 units"),
        ("-3", "x=-3"), ("(3, 4)", r"x=3 \text{ and } y=4"), ("(3,4)", r"\left( 3, 4 \right)."),
        ("3,4", "3 and 4"), ("3,4", r"\{3,4\}"), ("3,4", "x=3,4"), ("3,4", "x = 3, x = 4"),
        ("3,4", r"x \in \{3,4\}"), ("x=3, x=4", r"\{3, 4\}"), ("1,2,3", "1; 2; 3"),
        ("1,2,3", r"1, 2, \text{and } 3"), ("1,2,3", r"1, 2 \& 3"),
        ("2, 6", r"2 \quad \text{and} \quad 6"), ("2, 6", r"2\ \text{or}\ 6"),
        (r"a=1\text{ or }a=-2", r"a\in\{-2,1\}"),
        (r"\frac{1+\sqrt{5}}{2}", r"\frac{1}{2}+\frac{\sqrt5}{2}"),
        (r"\sqrt{3}+\sqrt{2}", r"\frac{1}{\sqrt3-\sqrt2}"), (r"\cos 20^\circ", r"\sin 70^\circ"),
        (r"\frac{\pi}{3}", r"\arccos\frac12"), (r"2\ln 3", r"\ln 9"), (r"\log_4 8", r"\frac32"),
        (r"\log_{10}100", "2"), (r"e^{\ln 5}", "5"), ("i^2", "-1"), ("(1+i)^2", "2i"),
        ("|3+4i|", "5"), (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"), (r"\sqrt[3]{-8}", "-2"),
        ("2^{1/2}", r"\sqrt2"), ("4^{x}", "2^{2x}"), (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\tan^2x+1", r"\sec^2x"), (r"\sin 2x", r"2\sin x\cos x"),
        (r"\frac{1}{\sec x}", r"\cos x"), (r"\cosh x", r"\frac{e^x+e^{-x}}{2}"), ("0.1+0.2", "0.3"),
        ("1-0.9", "0.1"), (r"33\frac{1}{3}\%", r"\frac{100}{3}"),
        (r"33\frac13", r"\frac{100}{3}\%"), (r"1.2\overline{3}", r"\frac{37}{30}"),
        (r"12.\overline{12}", r"\frac{400}{33}"), (r"5\sqrt{2}\text{ cm}", r"\sqrt{50}"),
        (r"\text{(A)}", "A)"), (r"\text{A}", "(a)"), ("D", r"\text{D}"), ("D", "D."),
        ("D", r"\mathbf{D}"), ("D", r"(D)\ 12"), ("D", "D) 12"), (r"\text{True}", "True."),
        ("Tuesday", r"\text{Tuesday.}"), (r"\text{red}", "Red"), (r"10:30\text{ AM}", "10:30 a.m."),
        ("10:30", "10:30"), (r"\text{March 3}", "March 3"), ("1:1", "1 : 1"), ("2:3", r"2\!:\!3"),
        ("2:3", "2 to 3"), ("2:3", r"2\text{ to }3"), (r"\frac{3}{5}", "3/5."), ("7!", "5040"),
        ("2^{10}", "1024"), ("1024", "2^{10}"), ("123456789", "123,456,789"),
        ("123456789", "123 456 789"), (r"-\frac{7}{8}", r"\frac{-7}{8}"),
        (r"-\frac{7}{8}", r"\frac{7}{-8}"), ("-(x+1)", "-x-1"),
        (r"\begin{bmatrix}1&0\\0&1\end{bmatrix}", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"),
        (r"\langle1,2\rangle", r"\langle 1, 2\rangle"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"\mathbf{i}+2\mathbf{j}", "i+2j"),
    ],
}  # fmt: skip
UNEQUAL: dict[str, list[Pair]] = {
    "units": [
        (r"\$25", r"25\%"), (r"30^\circ", r"30\%"), (r"25\%", r"25\text{ cm}"),
        (r"\$25", "25 euros"), ("€25", r"\$25"), ("£5", r"\$5"), (r"25\text{ cents}", r"\$25"),
        ("25°", r"\$25"), (r"\$5", r"5\text{ cm}"), (r"5 \text{ million}", "5"),
        (r"5\text{ m/s}", r"5\text{ km/h}"), (r"60\text{ miles per hour}", "60 km/h"),
        (r"\$5 \text{ per hour}", r"\$5 \text{ per day}"), ("30°C", "30°F"),
        (r"3 \text{ hundredths}", "3"), (r"25\text{ percent}", r"25\text{ dollars}"),
        (r"5\text{ cm}^2", r"5\text{ cm}^3"), (r"5\text{ kg}", r"5\text{ g}"), (r"\$3.20", "3.20%"),
        ("3.5", "3:5"), ("3:5", "3.5"), (r"20\%", r"20\text{ square units}"),
        (r"20\%", r"20\text{ apples}"), (r"\$20", r"20\text{ apples}"), ("5:00", "5:00 pm"),
        ("-(ab+ac+bc)", "72"), (r"\{(1,2)\}", r"\{1,2\}"),
    ],
    "chains": [
        ("5", "2+2=5"), ("3", "8+10-2=3"), ("2", r"(-64)\div(-32)=-2=2"), ("5", "2x=5"),
        ("5", "x+1=5"), ("5", "x=2+2=5"), ("5", "5=6"), ("6", "5=6"), ("10", r"3\cdot 4=10"),
        (r"\frac12", r"\frac{2}{3}=\frac12"), ("x=5", "x=2+2=5"), ("7", "x=3, 4+4=7"),
        ("4", "2^3=4"), ("1", "0.5=1"), ("x=5", "x = 4 = 5"), ("12", r"\frac{24}{3}=12"),
        (r"25\pi", r"5^2\pi = 25"), ("9", "3^2=6=9"), ("9y", "2y+3y+5y=9y"), ("256", "256+37=293"),
        ("37", "256+37=293"), ("0", "x^2-4=0"), ("2", "x^2-4=0"), ("x=2=3", "x=3"),
        ("x=3+3=5", "5"),
    ],
    "sets": [
        (r"(2,\infty)", r"x\ge2"), (r"x\ge 2", r"(2,\infty)"), (r"[2,\infty)", "x>2"),
        (r"(-\infty,2]", "x<2"), ("(0,1]", "0<x<1"), ("[0,1]", "0<x<1"), ("(0,1)", r"0\le x \le 1"),
        ("x>2", r"x\ge 2"), (r"(2,\infty)", "x<2"),
        (r"(-\infty,1)\cup(3,\infty)", r"x\le1 \text{ or } x\ge3"),
        (r"(-\infty,1)\cup(3,\infty)", "(1,3)"), (r"(-\infty,-4)\cup(-4,\infty)", r"x\ne4"),
        (r"\mathbb{R}\setminus\{4\}", r"\mathbb{R}"), (r"\mathbb{R}", r"(0,\infty)"),
        (r"[a,\infty)", "x>a"), ("(a,b)", r"a\le x\le b"), ("x>2", "y>2"),
        (r"\{1,2\}", r"\{1,2,3\}"), (r"\{1,2\}", "1"), (r"[1,2)\cup(2,3]", "[1,3]"),
        ("(-3,3)", r"|x|\le3"), ("[-3,3]", "|x|<3"), (r"x\ne1, x\ne2", r"x\ne1"),
        (r"(2,\infty)", r"\{x \mid x \ge 2\}"), ("1<x<2", r"1\le x<2"), ("(1,2)", r"1 < x \le 2"),
        (r"(-\infty,\infty)", r"x\ne0"), ("(2,5)", "x=2, x=5"), ("[2,5]", "2, 5"),
        ("x>2", "x>10^{400}"), (r"\{2^{2024}\}", r"\{2^{2024}, 5\}"),
        ("x>10^{400}", "x>10^{401}"),
    ],
    "programs": [
        (r"2\sqrt3", "2*sqrt(2)"), ("pi/6", "pi/3"), ("x**2", "x**3"), ("sqrt(35)", "sqrt(3)*5"),
        (r"\sqrt{35}", r"\sqrt3 5"), ("x<=3", "x<3"), ("x>=3", "x>3"), ("x!=3", "x=3"),
        ("2**10", "210"), ("ln(2)", "log(2)"),
    ],
    "unicode": [
        ("½", r"\frac{1}{3}"), ("x²", "x³"), ("x²", "x2"), ("3½", "3/2"), ("3½", r"\frac{31}{2}"),
        ("a₁", "a_2"), ("√2", "2"), ("−5", "5"), ("x⁻¹", "x"), ("10²", "102"),
    ],
    "words": [
        ("13a^2", "13a^2(a+7)"), ("13a^2", "13a^2(a + 7)"), ("37a", "37a(in + 3)"), ("x", "x(as+b)"), ("2", "2(cost)"), ("2", "2 (abcd)"), ("2", r"2(\text{width})"),
        ("12", "Answer: 13"), ("7", "7 (mod 10)"), ("5", "5 (or 6)"), ("5", r"5\text{ or }6"),
        ("12", "The answer is not 12"), ("5", "x is at least 5"), ("7", r"8 \text{ (at } x=7)"),
        ("2", r"7 \text{ (at } x=2)"), ("7", r"\text{not } 7"), ("12", "-12"),
        ("5", r"5 \text{ except } 3"), ("10", "10 - 3"), ("x=2", "x=2, x=3"),
        ("3", r"3 \text{ hours or } 4"), ("5", "5 + (C)"), ("5", "5k"),
        ("4", r"4 \text{ times } 3"), ("B", "Option C"), ("B", "BC"),
    ],
    "systems": [
        ("(1,2)", "x=2,y=1"), ("(1,2)", "y=1,x=2"), ("(2,1)", "x=1,y=2"), ("x=1,y=2", "x=2,y=1"),
        ("(1,2)", r"\{1,2\}"),
    ],
    "constants": [
        ("e^{-50}x", "2e^{-50}x"), ("e^{-80}", "e^{-80}+e^{-90}"), (r"\frac{1}{2^{500}}", "0"),
        ("10^{-50}", "0"), ("0.0000000000000000000000000000000000000000000000000000000000001", "0"),
        ("0.0000000000000000000000000000000000000000000000000000000000001", "0.0000000000000000000000000000000000000000000000000000000000002"),
        (r"\binom{2000}{1000}", r"\binom{2000}{999}"), ("5000!", "5001!"), ("9999!", "10000!"),
        (r"\sqrt{10^{100}+1}", "10^{50}"), (r"\frac{1}{9999!}", r"\frac{1}{10000!}"),
        (r"\sqrt{2}+10^{-70}", r"\sqrt2"), ("e^{1000}", "e^{1000}+1"),
        (r"\pi^{500}", r"\pi^{500}+1"), (r"\ln(1+10^{-50})", "10^{-50}"),
        (r"\sin(10^{-30})", "10^{-30}"), ("2^{-1000}", "3^{-1000}"), ("7^{100000}", "7^{100000}+1"),
        (r"\frac{1}{7^{100000}}", "0"), ("x+10^{-60}", "x"), ("x+e^{-150}", "x"),
        (r"\sqrt{2}x+e^{-150}", r"\sqrt2x"), ("1-2^{-2000}", "1"), ("1-0.5^{3000}", "1"),
    ],
    "others": [
        ("D=(0,2)", "D=(0,2]"), ("D=(0,2)", "(0,3)"), ("3x-y+13=0", "3x-y=13"),
        ("3x-y+13=0", "3x+y+13=0"), (r"1:2:3:\ldots", r"1:2:4:\ldots"),
        (r"1,2,\ldots,n", r"1,3,\ldots,n"), ("f(x)=0", "f(x)=x"), ("f(x)=0", "x"), ("x=0", "x=1"),
        (r"17, 40, \text{ and } 75", "17,40"), (r"\text{Marion}", r"\text{Mario}"),
        (r"\text{Ann}", r"\text{Anne}"), (r"1-\frac{1}{e}", "1-e"), (r"60^\circ", r"61^\circ"),
        (r"60^\circ", r"\frac{\pi}{3}+1"), ("C", "D"), ("C", r"\text{(D) C}"), ("C", "A, C"),
        ("C", "(B)"), ("4210_5", "4211_5"), ("4210_5", "4210_6"), ("-3,1,9", "3,1,9"),
        ("-3,1,9", "-3,1"), ("(1,2,3)", "(1,3,2)"), ("2^{101}", "2^{100}"),
        ("2^{101}+1", "2^{101}"), (r"\frac{\sqrt3}{2}", "0.8660254"), (r"\sqrt2", "1.414"),
        (r"a=1 \text{ or } a=-2", r"a=1 \text{ or } a=2"), (r"x\ge3", r"x\le3"), (r"x\ge3", "x>3"),
        ("3<x", "x<3"), ("x=1,y=2", "x=1,y=3"), ("(1,2)", "(1,2,3)"), (r"0.\overline{3}", "0.3"),
        (r"0.\overline{36}", "0.36"), (r"3\frac15", r"3\cdot\frac15"),
        (r"\binom{10}{3}", r"\binom{10}{4}"), ("i", "-i"), ("i", "1"), (r"\log_2 3", r"\log_3 2"),
        (r"50\%", "0.05"), (r"G_n=\sum_{k=0}^{n-1}G_k", r"G_n=\sum_{k=0}^{n}G_k"),
        (r"\sum_{k=1}^{n} k", r"\sum_{k=1}^{n-1} k"), (r"\int_0^1 x dx", r"\int_0^2 x dx"),
        ("n!", "(n+1)!"), ("x+y", "xy"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
        ("[1,2]", "(1,2]"), (r"\text{even}", r"\text{odd}"), (r"\text{Yes}", r"\text{No}"),
        (r"\text{no solution}", "0"), (r"\infty", "0"), ("undefined", "0"), ("7", "7x"),
        ("x^2", "2x"), (r"\frac12", "2"), ("12", "1, 2"), ("12", "1.2"), ("1,2", "1.2"),
        ("1,000", "1"), ("1000", "1,0000"), ("10^6", "10^5"), (r"\frac{x}{y}", r"\frac{y}{x}"),
        ("f(x)=x^2", "f(x)=x^3"), ("f(x)=x^2", "g(x)=x^2"), ("x=5", "y=5"), ("2:3", "3:2"),
        (r"2:30 \text{ PM}", "2:30 AM"), (r"\text{July 4}", "July 5"),
        (r"3\text{ hours}", r"3\text{ minutes}"), (r"10\text{ cm}^2", r"10\text{ cm}"),
        (r"\{1,2\}", r"\{1,2,3\}"), (r"\{1,2\}", "(1,2)"), (r"x\in(1,2)", r"x\in[1,2]"),
        ("1<x<2", "1<x<3"), ("x^{10}", "x^1 0"), ("n=3k", "n=3k+1"), (r"k\pi", r"2k\pi"),
        (r"\frac{\pi}{4}+k\pi", r"\frac{\pi}{4}+2k\pi"), (r"\pm2", "2"), ("2", r"\pm2"),
        (r"2\pm\sqrt3", r"2+\sqrt3"), ("a_1=4", "a_2=4"), ("a_1", "a_2"), (r"\alpha", r"\beta"),
        ("A", "a"), (r"\text{A}", r"\text{B}"), ("5", "five hundred"), (r"\text{five}", "6"),
        ("1+2i", "1-2i"), ("e^{2}", "e^{3}"), ("|x|", "x"), (r"\sin x", r"\cos x"),
        (r"\sin^2x", r"\sin x^2"), ("y=2x+1", "y=2x-1"), ("2x+1", "f(x)=2x"),
        ("AB=9, CD=4", "AB=4, CD=9"), ("x=1, y=2", "x=2, y=1"), ("x^2+1=0", "x^2-1=0"),
        (r"7 \pmod{10}", r"7 \pmod{11}"), (r"n \equiv 1 \pmod 4", r"n \equiv 3 \pmod 4"),
        (r"2 \mid n", r"3 \mid n"), (r"\leq 5", r"\leq 6"), (r"\leq 5", r"\geq 5"),
        (r"\leq 5", "5"),
        (r"\begin{cases} x+1 & x<0 \\ 0 & x \ge 0 \end{cases}", r"\begin{cases} x+2 & x<0 \\ 0 & x \ge 0 \end{cases}"),
        ("12", r"12 \text{ or } 13"), ("1", "1 - 10^{-300}"), ("0", "10^{-300}"),
        ("0.1", "0.1000000000000000000001"), ("0", "e^{-1000}"),
        (r"\frac{1}{3}", "0.3333333333333333333333333333333333333333333333333333333333"),
        (r"\pi", r"\frac{355}{113}"), (r"\pi", r"\frac{22}{7}"), ("e", "2.718281828459045"),
        ("2^{64}", "18446744073709551615"), ("2^{64}", r"1.8446744073709552 \times 10^{19}"),
        ("10^{20}", "10^{20}+1"), (r"\sqrt{10^{40}+1}", "10^{20}"), ("10!", "10"),
        (r"\frac{1}{100!}", "0"), ("3^{1000}", "3^{1001}"),
        (r"\frac{1}{3^{1000}}", r"\frac{1}{3^{1001}}"),
    ],
    "more": [
        ("(1,4)", "[1,4]"), ("(1,4)", r"1\le x\le 4"), ("[1,4]", "1<x<4"), (r"(-\infty,5]", "x<5"),
        (r"(-\infty,5)", r"x\le5"), (r"(0,1)\cup(1,2)", "(0,2)"),
        (r"(0,1]\cup(1,2)", r"(0,1)\cup(1,2)"),
        (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}\setminus\{1\}"),
        (r"(-\infty,0)\cup(0,\infty)", r"x\ge0"), (r"(-\infty,-1)\cup(1,\infty)", r"x\ne\pm1"),
        (r"(-\infty,-1)\cup(1,\infty)", r"x\le-1\text{ or }x\ge1"),
        (r"\mathbb{R}\setminus\{0,1\}", r"\mathbb{R}\setminus\{0\}"), (r"\{-1,0,1\}", r"\{-1,1\}"),
        (r"\{-1,0,1\}", r"\pm1"), (r"(0,\infty)", r"[0,\infty)"), ("x>0", r"x\ge0"),
        ("(2,5)", "x=2,x=5"), ("(2,5)", "2,5,7"), ("[2,5]", r"\{2,5\}"), ("[2,5]", "(2,5)"),
        (r"\mathbb{R}", r"\mathbb{Z}"), (r"\mathbb{R}", r"\mathbb{Q}"), (r"\emptyset", r"\{0\}"),
        (r"\emptyset", "0"), (r"\emptyset", r"\mathbb{R}"), (r"x<1\text{ or }x>3", "1<x<3"),
        ("x<1", "x>1"), ("1<x<3", "1<x<4"), ("k>4", r"k\ge4"), ("x>2", r"x>2, x\ne3"),
        (r"(2,\infty)", r"x>2 \text{ and } x\ne3"), (r"(2,\infty)", "x>2, y>3"),
        (r"(-\infty,2)", r"(-\infty,-2)"), (r"(3,\infty)", "3"), (r"[3,\infty)", "x=3"),
        (r"5\text{ cm}", r"5\text{ mm}"), (r"5\text{ kg}", r"5\text{ lb}"),
        (r"\$25", r"25\text{ cents}"), (r"\$25", r"25\text{ euros}"), (r"\$25", r"25\text{ km}"),
        (r"\$25", r"25^\circ"), (r"25\%", r"25^\circ"), (r"25\%", r"25\text{ years}"),
        (r"25\%", r"\$25"), ("¥25", r"\$25"), ("€25", "£25"), (r"25\text{ cents}", r"25\%"),
        (r"10\text{ km/h}", r"10\text{ m/s}"), (r"12\text{ in}^2", r"12\text{ in}^3"),
        (r"2\text{ hours}", r"2\text{ minutes}"), (r"3\text{ million}", r"3\text{ billion}"),
        (r"3\text{ thousand}", "3"), (r"30^\circ", r"30\text{ radians}"),
        (r"30\text{ rad}", r"30^\circ"), (r"50\text{ mph}", r"50\text{ km/h}"), ("5", "3+3=5"),
        ("5", r"2\cdot2=5"), ("5", "x=3+3=5"), ("5", "5=3+3"), ("12", r"3\times4=11=12"),
        ("12", "12=11"), (r"\frac12", r"\frac{1}{2}=0.6"), (r"\frac12", r"0.6=\frac12"),
        ("x=3", "x=2=3"), ("100", "10^2=1000"), ("1000", "10^2=1000"), ("7", "4+4=7"),
        ("9", r"\sqrt{80}=9"), ("3", r"\pi=3"), ("2", r"\sqrt{5}=2"), ("4x", "x+x+x=4x"),
        ("x^2", r"x\cdot x\cdot x=x^2"), ("12", "2(5+1)=12+1"), ("13", "2(5+1)=12=13"),
        ("6", r"\frac{12}{3}=6"), ("3", "8-4=3"), ("0", "1=0"), ("1", "1=0"), ("24", "4!=24=25"),
        ("25", "4!=24=25"), ("n", "n+1=n"), ("5", "2x+1=5"), ("6", "2x=6"), ("4", "x+2=4"),
        ("8", "3x-1=8"), ("2", "x = 2 or 3"), ("3", "x = 2 or 3"), ("2", "2, 3"), ("1,2", "1"),
        (r"\pm2", "-2"), ("2,-2", "2"),
        (r"\sqrt{2}", "1.41421356237309504880168872420969807856967187537694"),
        (r"\pi", "3.1415926535897932384626433832795028841971693993751"),
        ("e", "2.71828182845904523536028747135266249775724709369995"),
        (r"\frac13", "0.33333333333333333333333333333333333333333333333333"),
        (r"\ln 2", "0.693147180559945309417232121458"), ("10^{-30}", "0"), ("10^{-30}", "10^{-31}"),
        ("1+10^{-40}", "1"), (r"\sqrt{2}+10^{-45}", r"\sqrt{2}"), ("e^{-300}", "0"),
        ("e^{-300}", "e^{-301}"), (r"\frac{1}{e^{300}}", r"\frac{2}{e^{300}}"),
        (r"\frac{1}{70!}", r"\frac{1}{71!}"), (r"\frac{\pi}{70!}", r"\frac{\pi}{71!}"),
        (r"\left(\frac{1}{2}\right)^{200}", "0"),
        (r"\left(\frac12\right)^{200}", r"\left(\frac13\right)^{200}"),
        (r"1-\left(\frac{1}{\sqrt2}\right)^{600}", "1"), (r"\frac{\sqrt{2}}{10^{80}}", "0"),
        (r"\sin(10^{-50})", "0"), (r"\frac{\ln2}{10^{60}}", r"\frac{\ln3}{10^{60}}"),
        (r"10^{80}+\sqrt2", "10^{80}+1"), ("10^{80}+e", r"10^{80}+\pi"),
        (r"3^{500}\pi", r"3^{500}\pi+1"), ("2000!", "2001!"), (r"\frac{2000!}{1999!}", "2001"),
        (r"\binom{3000}{1500}", r"\binom{3000}{1501}"), (r"\frac{3^{2000}}{3^{1999}}", "4"),
        (r"\sqrt{10^{60}+1}", "10^{30}"), ("x<=3", "x>=3"), ("x!=3", "x=3"),
        ("sqrt(12)", "sqrt(21)"), ("2*pi", "pi**2"), ("x**3", "3*x"), ("2^(n+1)", "2^n+1"),
        ("exp(2)", "exp(3)"), ("log2(8)", "log10(8)"), ("ln(2)", "log10(2)"),
        ("asin(1/2)", "acos(1/2)"), ("floor(x)", "ceil(x)"), ("1e6", "1e5"), ("1.5e-3", "1.5e3"),
        ("¼", "¾"), ("x³", "3x"), ("x₁", "x₂"), ("σ²", "σ"), ("2⁄3", "3⁄2"), ("√10", "10"),
        ("1¼", r"\frac{11}{4}"), ("10⁻²", "10²"), ("∅", "0"), ("≤5", "≥5"), ("α", "a"), ("π", "p"),
        ("12", "The answer is 13"), ("12", "Answer: 1, 2"), ("7", "7 (or 8)"),
        ("7", r"7 \text{ or } 8"), ("7", "8 (not 7)"), ("7", r"\text{not } 7"), ("B", "Answer: C"),
        ("B", "A or B"), ("B", "B and C"), ("3", r"3 \text{ or fewer}"),
        ("3", r"\text{more than } 3"), ("3", r"\text{at least } 3"), ("3", r"\text{less than }3"),
        ("12", r"12 \text{ plus } 3"), ("12", r"12 \text{ times } 2"),
        (r"\text{Alice}", "The answer is Bob"), ("7", r"7 \text{ mod } 10"), ("7", r"7 \pmod{10}"),
        ("y=2x+3", "y=3x+2"), ("x^2+y^2=25", "x^2+y^2=5"), ("x^2+y^2=25", "x^2-y^2=25"),
        ("x+2y=5", "2x+y=5"), ("x=3", "y=3"), ("(1,2)", "(2,1)"), ("a=1,b=2", "a=2,b=1"),
        ("(1,2),(2,1)", "(1,2)"), ("(1,2),(2,1)", "(1,2),(1,2)"), ("y=x^2", "x=y^2"),
        ("(0,8.5)", "0<x<8"), ("(0,8.5)", "0<x<9"), ("D=(0,2)", "D=[0,2]"), ("36", "36+1"),
        ("x=3", "x=3,4"), ("3,4", "3"), ("3,4", "3,5"), ("3,4", "(4,3,3)"), ("(3,4)", "(4,3)"),
        ("(3,4)", "x=4,y=3"), (r"\cos20^\circ", r"\sin 20^\circ"), (r"\cos20^\circ", r"\cos 20"),
        (r"2\ln3", r"\ln6"), (r"\log_48", r"\frac23"), ("(1+i)^2", "-2i"),
        (r"\binom{n}{2}", r"\frac{n(n+1)}{2}"), ("2^{10}", "1025"), ("7!", "5041"),
        ("123,456", "123"), (r"-\frac78", r"\frac78"),
        (r"\begin{bmatrix}1&0\\0&1\end{bmatrix}", r"\begin{bmatrix}0&1\\1&0\end{bmatrix}"),
        ("D", "(C) D"), ("D", "DD"), (r"\text{red}", r"\text{blue}"), ("2:3", "3:2"),
        ("2:3", "2:4"), (r"10:30\text{ AM}", r"10:30\text{ PM}"), ("10:30", "10:31"),
        (r"1.2\overline{3}", "1.23"), (r"33\frac13", "33"), (r"\frac13", r"33\frac13\%"),
        ("1", r"100\%"), ("100", "1"), (r"0.9\overline{9}", "0.9999"), ("1", "0.9999999999999"),
        ("x^2+1", "x^2+1=0"), ("x+1", "x+1=2"), (r"\sqrt{3}+\sqrt2", r"\sqrt5"),
        (r"\sqrt{x^2+1}", "x+1"), (r"\frac{1}{x+y}", r"\frac1x+\frac1y"), ("(x+y)^2", "x^2+y^2"),
        (r"\sin(x+y)", r"\sin x+\sin y"), (r"\ln(x+y)", r"\ln x+\ln y"), ("e^{x+y}", "e^x+e^y"),
        ("a^b", "b^a"), ("2^{-3}", "-8"), ("(-2)^2", "-4"), ("-2^2", "4"),
        (r"5 \text{ apples}", r"6 \text{ apples}"), ("A=5", "A=6"), ("r=14", "r=15"),
        (r"x=2 \text{ or } x=6", "x=2"), ("[2,6]", r"x=2 \text{ or } x=6"),
        (r"\text{12 square units}", "13"), (r"\text{neither}", r"\text{both}"),
        (r"\text{odd}", r"\text{even}"), (r"\text{none}", "0"), ("0", r"\text{none}"),
    ],
}  # fmt: skip

BOXES = [
    ("2, 6, 11", r"\boxed{2}, \boxed{6} and \boxed{11}.", True),
    ("2,6", r"$\boxed{2}$ or $\boxed{6}$", True),
    ("2,6", r"$x = \boxed{2}$ and $x = \boxed{6}$.", True),
    ("6", r"$\boxed{2}$, $\boxed{6}$", False),
    ("2", r"\boxed{2} or \boxed{6}", False),
    ("6", r"\boxed{2}. Wait, \boxed{6}", True),
    ("6", r"First \boxed{2}; then, \boxed{6}", True),
    ("(2,6)", r"x=\boxed{2}, y=\boxed{6}", True),
    ("(2,6)", r"x=\boxed{6}, y=\boxed{2}", False),
    ("5", r"\boxed{5} and \boxed{5}", True),
    (r"\frac12", r"\boxed{\frac12} or \boxed{0.5}", True),
    ("2/3", r"\boxed{\frac23} or \boxed{0.667}", True),
    ("2,6", r"\[\boxed{2} \text{ and } \boxed{6}\]", True),
    ("2,6", r"\[\boxed{2}\quad\text{or}\quad\boxed{6}\]", True),
    ("2, 6", r"The solutions are $\boxed{2}$ and $\boxed{6}$", True),
    ("6", r"so $a=\boxed{2}$ and hence $b=\boxed{6}$", True),
    ("6", r"\boxed{2}\n\n\boxed{6}", True),
    ("2,6", "\\boxed{2},\n\\boxed{6}", True),
    ("2,6", r"\boxed{2}/\boxed{6}", True),
    ("6", r"Is it \boxed{2}? No, \boxed{6}", True),
    ("6", r"Step 1: \boxed{2}, and so \boxed{6}", True),
    ("(1,2),(3,4)", r"\boxed{(1,2)} and \boxed{(3,4)}", True),
    ("A,C", r"\boxed{A} and \boxed{C}", True),
    ("A", r"\boxed{A} and \boxed{C}", False),
    ("C", r"\boxed{A}, \boxed{C}", False),
    ("12", r"\boxed{12} cm", True),
    ("5", r"\boxed{2+2=5}", False),
    ("4", r"\boxed{2+2=4}", True),
    ("72", r"<think>\boxed{48}</think> \boxed{72}", True),
    ("48", r"<think>\boxed{48}</think> So it is 48", True),
    ("5", r"\boxed{5} or \boxed{", False),
    ("58", r"$$\boxed{58}$$", True),
    ("12", r"\boxed{\text{12}}", True),
    ("12", r"\boxed 12", False),
    ("12", r"\boxed {12}", True),
    ("3", r"\boxed{3}\boxed{4}", False),
    ("-1, 2", r"$k = \boxed{-1}$ or $k=\boxed{2}$", True),
    ("10", r"Minimum \boxed{10}, maximum \boxed{20}", False),
    ("2, 6", r"\boxed{x=2} or \boxed{x=6}", True),
    ("6", r"\boxed{x=2} or \boxed{x=6}", False),
    ("2^{2024}, 0.50", r"\boxed{2^{2024}}, \boxed{0.50}", True),
]
"""Reference, solution, whether it is right."""


def pairs(table: dict[str, list[Pair]]) -> list[object]:
    return [
        pytest.param(*pair, id=f"{kind}: {pair[0]} | {pair[1]}")
        for kind, rows in table.items()
        for pair in rows
    ]


def judged(reference: str, answer: str) -> bool:
    """The verdict of all that may decide; what decides at once must say the same."""
    wanted, given = normal(reference), normal(answer)
    verdict, at_once = equal(wanted, given, SETTINGS), quick(wanted, given, SETTINGS)
    assert at_once in (None, verdict)
    return verdict


@pytest.mark.parametrize(("reference", "answer"), pairs(EQUAL))
def test_the_same_answer_in_another_spelling_is_right(reference: str, answer: str) -> None:
    assert judged(reference, answer)


@pytest.mark.parametrize(("reference", "answer"), pairs(UNEQUAL))
def test_another_answer_is_never_right(reference: str, answer: str) -> None:
    assert not judged(reference, answer)


@pytest.mark.parametrize(("reference", "solution", "right"), BOXES)
def test_boxes_are_a_list_only_where_nothing_but_a_list_joins_them(
    reference: str, solution: str, right: bool
) -> None:
    answer = read_answer(solution)
    assert (answer is not None and equal(normal(reference), answer, SETTINGS)) is right


LONG = mpmath.MPContext()
LONG.dps = 1500
Constant = tuple[str, mpmath.mpf]


def number(rng: random.Random) -> Constant:
    kind = rng.randrange(6)
    if kind < 3:
        whole = rng.randint(1, 20)
        return str(whole), LONG.mpf(whole)
    if kind == 3:
        power = rng.choice([-1, 1]) * rng.randint(20, 120)
        return f"10^{{{power}}}", LONG.mpf(10) ** power
    if kind == 4:
        return r"\pi", +LONG.pi
    inside = rng.randint(2, 30)
    return rf"\sqrt{{{inside}}}", LONG.sqrt(inside)


def constant(rng: random.Random, depth: int) -> Constant:
    """An expression, and its value in 1500 digits."""
    if depth == 0:
        return number(rng)
    (a, x), (b, y) = constant(rng, depth - 1), constant(rng, depth - 1)
    kind = rng.randrange(8)
    if kind < 5:
        return [
            (f"({a})+({b})", x + y),
            (f"({a})-({b})", x - y),
            (rf"({a})\cdot({b})", x * y),
            (rf"\frac{{{a}}}{{{b}}}", x / y) if y else (a, x),
            (rf"\sqrt{{{a}}}", LONG.sqrt(x)) if x >= 0 else (a, x),
        ][kind]
    if kind == 5 and x > 0:
        return rf"\ln({a}+1)", LONG.log(x + 1)
    if kind == 6 and abs(x) < 300:
        return f"e^{{{a}}}", LONG.exp(x)
    return a, x


def test_a_constant_equals_only_itself_however_small_the_difference() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(400):
        a, x = constant(rng, rng.randint(1, 3))
        tiny = rng.randint(5, 150)
        b, y = rng.choice(
            [
                constant(rng, rng.randint(1, 3)),
                (f"{a}+10^{{-{tiny}}}", x + LONG.mpf(10) ** -tiny),
                (f"({a})(1+10^{{-{tiny}}})", x * (1 + LONG.mpf(10) ** -tiny)),
                (f"2({a})-({a})", x),
                (rf"\frac{{3({a})}}{{3}}", x),
            ]
        )
        close = abs(x - y) < LONG.mpf(10) ** -900 * max(1, abs(x))
        verdict = quick(a, b, SETTINGS)
        assert verdict is None or verdict == close, (a, b)


@pytest.mark.parametrize(
    "piece",
    [
        "(",
        "sqrt(",
        r"\sqrt(",
        "1,",
        r"\text{",
        "a ",
        "**",
        "'",
        "_",
        "{ ",
        "U ",
        r"\dot",
        "$",
        "e1",
    ],
)
def test_a_long_text_in_a_box_is_read_in_a_moment(piece: str) -> None:
    started = time.process_time()
    read_answer(r"\boxed{5" + piece * (20_000 // len(piece)) + "}")
    assert time.process_time() - started < 2
