"""Draws the figures of these pages: ``python docs/models/figures.py`` writes the SVG files."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
RADIUS = 22

Point = tuple[float, float]

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
    'height="{height}" font-family="serif" role="img">\n<title>{title}</title>\n'
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z"/></marker></defs>\n'
    '<rect width="100%" height="100%" rx="8" fill="white"/>\n'
)


class Drawing:
    """An SVG picture of circles, arrows, frames and text."""

    def __init__(self, title: str, width: int, height: int) -> None:
        self.parts = [HEAD.format(title=escape(title), width=width, height=height)]
        self.places: dict[str, Point] = {}

    def node(self, key: str, at: Point, text: str, *, observed: bool = False) -> None:
        """A circle with an italic letter; ``a_b`` has the subscript b. Grey: observed."""
        self.places[key] = at
        fill = "#d0d0d0" if observed else "white"
        self.parts.append(
            f'<circle cx="{at[0]}" cy="{at[1]}" r="{RADIUS}" fill="{fill}" stroke="black"/>\n'
        )
        self.text((at[0], at[1] + 6), text, size=19, italic=True)

    def box(self, key: str, at: Point, text: str, *, fill: str = "#eef3fb") -> None:
        """A rectangle with text of one or two lines."""
        self.places[key] = at
        lines = text.split("\n")
        half = RADIUS - 2
        self.parts.append(
            f'<rect x="{at[0] - 62}" y="{at[1] - half}" width="124" height="{2 * half}" rx="5" '
            f'fill="{fill}" stroke="black"/>\n'
        )
        for i, line in enumerate(lines):
            self.text((at[0], at[1] + 5 + 16 * (i - (len(lines) - 1) / 2)), line, size=14)

    def arrow(self, start: str, end: str, *, dashed: bool = False) -> None:
        """An arrow between the edges of two nodes; dashed for inference."""
        a, b = self.places[start], self.places[end]
        part = (RADIUS + 3) / math.dist(a, b)
        x, y = part * (b[0] - a[0]), part * (b[1] - a[1])
        self.line((a[0] + x, a[1] + y), (b[0] - x, b[1] - y), dashed=dashed)

    def line(self, a: Point, b: Point, *, dashed: bool = False, bend: float = 0) -> None:
        """An arrow from a to b; its middle is ``bend`` lower than that of a straight arrow."""
        style = ' stroke-dasharray="5 4"' if dashed else ""
        middle = f"{(a[0] + b[0]) / 2:.1f} {(a[1] + b[1]) / 2 + 2 * bend:.1f}"
        self.parts.append(
            f'<path d="M{a[0]:.1f} {a[1]:.1f}Q{middle} {b[0]:.1f} {b[1]:.1f}" fill="none" '
            f'stroke="black"{style} marker-end="url(#tip)"/>\n'
        )

    def plate(self, corner: Point, size: Point, text: str) -> None:
        """A frame around what is repeated, with its number at the lower right."""
        (x, y), (width, height) = corner, size
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="none" '
            'stroke="#555"/>\n'
        )
        self.text((x + width - 8, y + height - 8), text, size=14, anchor="end")

    def text(
        self, at: Point, text: str, *, size: int = 15, italic: bool = False, anchor: str = "middle"
    ) -> None:
        """A line of text; in italic text ``a_b`` has the subscript b."""
        letter, _, index = text.partition("_") if italic else (text, "", "")
        below = f'<tspan dy="5" font-size="{size - 6}">{escape(index)}</tspan>' if index else ""
        style = ' font-style="italic"' if italic else ""
        self.parts.append(
            f'<text x="{at[0]}" y="{at[1]:g}" font-size="{size}" text-anchor="{anchor}"{style}>'
            f"{escape(letter)}{below}</text>\n"
        )

    def save(self, name: str) -> None:
        """Write the picture beside this file."""
        (FOLDER / name).write_text("".join(self.parts) + "</svg>\n", encoding="utf-8")


def mlvae() -> None:
    """Generative model and posterior of the Multi-Level VAE."""
    drawing = Drawing("Graphical model and posterior of the Multi-Level VAE", 640, 300)
    for left, title, dashed in ((0, "generative model", False), (320, "posterior", True)):
        drawing.text((left + 160, 28), title, size=16)
        key = str(left)
        drawing.node("c" + key, (left + 80, 90), "c")
        drawing.node("s" + key, (left + 220, 90), "s_i")
        drawing.node("x" + key, (left + 220, 200), "x_i", observed=True)
        drawing.plate((left + 165, 52), (112, 192), "i ∈ G")
        drawing.plate((left + 30, 42), (260, 236), "groups")
        for code in ("c", "s"):
            ends = (code + key, "x" + key)
            drawing.arrow(*(reversed(ends) if dashed else ends), dashed=dashed)
    drawing.save("mlvae.svg")


def evidence() -> None:
    """How evidence of the members becomes the content, and where the style goes."""
    drawing = Drawing("Flow of information in the Multi-Level VAE", 760, 300)
    for i, y in enumerate((70, 150, 230), start=1):
        drawing.node(f"x{i}", (50, y), f"x_{i}", observed=True)
        drawing.box(f"q{i}", (190, y), f"q(c | x{i})")
        drawing.line((75, y), (126, y), dashed=True)
    drawing.box("sum", (380, 150), "sum of the\nevidence", fill="#fdf3e1")
    for i in (1, 2, 3):
        drawing.line((253, 80 * i - 10), (316, 126 + 12 * i))
    drawing.node("c", (520, 150), "c")
    drawing.node("s", (520, 250), "s_i")
    drawing.box("decoder", (640, 200), "decoder\np(x | c, s)")
    drawing.line((443, 150), (495, 150))
    drawing.line((544, 160), (578, 182))
    drawing.line((544, 240), (578, 218))
    drawing.line((72, 242), (495, 254), dashed=True, bend=22)
    drawing.text((465, 112), "q(c | group): one for the group", size=14)
    drawing.text((300, 294), "q(s | x): one for each observation", size=14)
    drawing.save("evidence.svg")


def ada() -> None:
    """The common and the own dimensions of a pair."""
    drawing = Drawing("The two observations of a pair share some dimensions", 560, 250)
    for i, y in enumerate((80, 180), start=1):
        drawing.node(f"x{i}", (60, y), f"x_{i}", observed=True)
        drawing.text((60, y - 30), "first" if i == 1 else "second", size=13)
    for d in range(4):
        x, shared = 200 + 70 * d, d in (1, 2)
        fill = "#d7e6d2" if shared else "#eef3fb"
        for y in (80, 180):
            drawing.parts.append(
                f'<rect x="{x - 26}" y="{y - 20}" width="52" height="40" rx="4" fill="{fill}" '
                'stroke="black"/>\n'
            )
            drawing.text((x, y + 6), f"z_{d + 1}", size=17, italic=True)
        if shared:
            drawing.line((x, 130), (x, 102))
            drawing.line((x, 130), (x, 158))
    for y in (80, 180):
        drawing.line((85, y), (171, y), dashed=True)
    drawing.text((305, 34), "similar posteriors: averaged", size=14)
    drawing.text((305, 232), "different posteriors: kept", size=14)
    drawing.save("ada.svg")


def conditional() -> None:
    """Generative model and posterior of the conditional VAE."""
    drawing = Drawing("Graphical model and posterior of the conditional VAE", 640, 300)
    for left, title, dashed in ((0, "generative model", False), (320, "posterior", True)):
        drawing.text((left + 160, 28), title, size=16)
        key = str(left)
        drawing.node("y" + key, (left + 80, 90), "y", observed=True)
        drawing.node("s" + key, (left + 220, 90), "s_i")
        drawing.node("x" + key, (left + 220, 200), "x_i", observed=True)
        drawing.plate((left + 165, 52), (112, 192), "i ∈ G")
        drawing.plate((left + 30, 42), (260, 236), "groups")
        if dashed:
            drawing.arrow("x" + key, "s" + key, dashed=True)
            drawing.arrow("y" + key, "s" + key, dashed=True)
        else:
            drawing.text((left + 118, 152), "c_y", size=17, italic=True)
            drawing.arrow("y" + key, "x" + key)
            drawing.arrow("s" + key, "x" + key)
    drawing.save("conditional.svg")


def svqvae() -> None:
    """Training and use of the S-VQ-VAE."""
    drawing = Drawing("Training and use of the S-VQ-VAE", 700, 330)
    drawing.text((185, 28), "training: the label selects the code", size=16)
    drawing.text((560, 28), "use: the nearest code", size=16)
    drawing.node("x", (50, 110), "x_i", observed=True)
    drawing.node("z", (170, 110), "z_i")
    drawing.node("y", (50, 220), "y", observed=True)
    drawing.node("e", (170, 220), "e_y")
    drawing.box("decoder", (310, 220), "decoder\ng(e)")
    drawing.text((310, 290), "one reconstruction for the group", size=14)
    drawing.arrow("x", "z", dashed=True)
    drawing.arrow("y", "e")
    drawing.line((195, 220), (245, 220))
    drawing.line((170, 136), (170, 194))
    drawing.line((170, 194), (170, 136))
    drawing.text((232, 160), "pull", size=14)
    drawing.node("x2", (470, 110), "x_i", observed=True)
    drawing.node("z2", (580, 110), "z_i")
    drawing.arrow("x2", "z2", dashed=True)
    for k, place in enumerate((490, 560, 630), start=1):
        drawing.node(f"e{k}", (place, 230), f"e_{k}")
    drawing.arrow("z2", "e2")
    drawing.text((560, 290), "the class of the observation", size=14)
    drawing.save("svqvae.svg")


def vae() -> None:
    """Generative model and posterior of the plain VAE."""
    drawing = Drawing("Graphical model and posterior of the VAE", 440, 280)
    for left, title, dashed in ((0, "generative model", False), (220, "posterior", True)):
        drawing.text((left + 110, 28), title, size=16)
        key = str(left)
        drawing.node("z" + key, (left + 110, 85), "z_i")
        drawing.node("x" + key, (left + 110, 185), "x_i", observed=True)
        drawing.plate((left + 40, 45), (140, 196), "observations")
        ends = ("z" + key, "x" + key)
        drawing.arrow(*(reversed(ends) if dashed else ends), dashed=dashed)
    drawing.save("vae.svg")


def rotations() -> None:
    """States that actions turn, and the frames that they are decoded to."""
    drawing = Drawing("A trajectory of the model Rotations", 700, 280)
    for t, x in enumerate((90, 260, 430, 600)):
        drawing.node(f"z{t}", (x, 150), f"z_{t}")
        drawing.node(f"x{t}", (x, 240), f"x_{t}", observed=True)
        if t:
            drawing.node(f"a{t}", (x - 85, 55), f"a_{t - 1}", observed=True)
            drawing.arrow(f"z{t - 1}", f"z{t}")
            drawing.line((x - 85, 79), (x - 85, 146))
            drawing.arrow(f"z{t}", f"x{t}")
    drawing.line((84, 216), (84, 174), dashed=True)
    drawing.line((98, 174), (98, 216))
    drawing.text((45, 200), "encoded", size=13)
    drawing.text((640, 200), "decoded", size=13)
    drawing.text((90, 110), "unit vectors", size=13)
    drawing.save("rotations.svg")


def dirvae() -> None:
    """Shares on a triangle generate an observation; the posterior is a density on it."""
    drawing = Drawing("Graphical model and posterior of the DirVAE", 560, 280)
    corners = [(140.0, 50.0), (40.0, 220.0), (240.0, 220.0)]
    for left, title in ((0, "generative model"), (280, "posterior")):
        drawing.text((left + 140, 28), title, size=16)
        path = "L".join(f"{x + left:g} {y:g}" for x, y in corners)
        drawing.parts.append(f'<path d="M{path}Z" fill="#eef3fb" stroke="black"/>\n')
        for number, ((x, y), below) in enumerate(zip(corners, (-8, 22, 22), strict=True), start=1):
            place = (x + left + (24 if number == 1 else 0), y + below + (8 if number == 1 else 0))
            drawing.text(place, f"z_{number}", size=15, italic=True)
    drawing.parts.append('<circle cx="120" cy="150" r="5" fill="black"/>\n')
    for radius in (34, 22, 10):
        drawing.parts.append(
            f'<ellipse cx="400" cy="150" rx="{radius}" ry="{0.7 * radius:g}" fill="#3b6ea5" '
            'fill-opacity="0.25"/>\n'
        )
    drawing.node("x0", (235, 120), "x", observed=True)
    drawing.node("x1", (515, 120), "x", observed=True)
    drawing.line((127, 148), (211, 126))
    drawing.line((491, 126), (436, 144), dashed=True)
    drawing.text((235, 170), "p(x | z)", size=14)
    drawing.text((515, 170), "Dir(a(x))", size=14)
    drawing.save("dirvae.svg")


def vsae() -> None:
    """Blocks of latents of two columns, of which the second misses its cell."""
    drawing = Drawing("Graphical model and posterior of the VSAE", 600, 300)
    for left, title in ((0, "generative model"), (300, "posterior, cell 2 missing")):
        drawing.text((left + 150, 28), title, size=16)
        key = str(left)
        drawing.node("a" + key, (left + 80, 90), "z_1")
        drawing.node("b" + key, (left + 210, 90), "z_2")
        drawing.node("x" + key, (left + 80, 220), "x_1", observed=True)
        drawing.node("y" + key, (left + 150, 220), "m", observed=True)
        drawing.node("w" + key, (left + 220, 220), "x_2", observed=not left)
    for latent in "ab":
        for cell in "xyw":
            drawing.arrow(latent + "0", cell + "0")
    drawing.arrow("x300", "a300", dashed=True)
    drawing.arrow("x300", "b300", dashed=True)
    drawing.arrow("y300", "b300", dashed=True)
    drawing.save("vsae.svg")


def dcevae() -> None:
    """The intervention and two latents generate the columns by their roles."""
    drawing = Drawing("Graphical model of the DCEVAE", 440, 320)
    drawing.node("a", (70, 70), "a", observed=True)
    drawing.node("d", (190, 70), "u_d")
    drawing.node("r", (350, 70), "u_r")
    drawing.node("x", (110, 230), "x_d", observed=True)
    drawing.node("y", (230, 230), "y", observed=True)
    drawing.node("w", (350, 230), "x_r", observed=True)
    for start, end in ("ax", "ay", "dx", "dy", "ry", "rw"):
        drawing.arrow(start, end)
    drawing.line((92, 56), (328, 56), dashed=True, bend=-26)
    drawing.text((210, 24), "may correlate", size=14)
    drawing.save("dcevae.svg")


if __name__ == "__main__":
    for draw in (mlvae, evidence, ada, conditional, svqvae, rotations, vae, dirvae, vsae, dcevae):
        draw()
