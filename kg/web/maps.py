"""A map of a few points, drawn here: outlines of land and countries by Natural Earth, no tiles and nothing from elsewhere.

Hides TopoJSON, the projection and how much of the world is shown. Without outlines there is no map, and the page tells the coordinates.

Equirectangular, with the middle parallel true to scale. TopoJSON as in the TopoJSON Format Specification, sections 2.1.1 to 2.1.4: arcs
are quantised, each position the difference from the one before it; a negative index is the arc of its complement, reversed.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kg.web import libraries

#: Pixels of the drawing, which scales with the page.
WIDTH, HEIGHT = 640, 360

#: Degrees of longitude that are shown at least, so that there is something to know a place by.
_LEAST = 26.0

#: The same for a place that lies in no other: a country is seen among its neighbours.
_LEAST_ALONE = 90.0

#: From how many degrees on the coarse outlines do.
_WIDE = 70.0

#: A position this near to the one before it, in pixels, is left out.
_NEAR = 1.2

_WKT = re.compile(r"\s*(?:<[^>]*>\s*)?POINT\s*\(\s*(-?\d+(?:\.\d+)?)\s+(-?\d+(?:\.\d+)?)\s*\)\s*", re.IGNORECASE)

Position = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A place: its name, degrees of longitude and latitude, and where it leads; `main` where the page is about it, `alone` where it
    lies in no other that is known."""

    name: str
    longitude: float
    latitude: float
    href: str = ""
    main: bool = True
    alone: bool = False

    @property
    def coordinates(self) -> str:
        """Degrees in words, `51.7° N, 36.2° E`."""
        north = f"{abs(self.latitude):g}° {'N' if self.latitude >= 0 else 'S'}"
        return f"{north}, {abs(self.longitude):g}° {'E' if self.longitude >= 0 else 'W'}"


@dataclass(frozen=True)
class Spot:
    """A point where it is drawn; its name stands to the left of it where there is no room to the right."""

    point: Point
    x: float
    y: float

    @property
    def left(self) -> bool:
        return self.x > WIDTH * 0.68


@dataclass(frozen=True)
class Map:
    """What is drawn: countries as the `d` of one path in tenths of a pixel, the lines of the grid, and spots."""

    land: str
    grid: str
    spots: tuple[Spot, ...]
    width: int = WIDTH
    height: int = HEIGHT


def point(wkt: str) -> Position | None:
    """Longitude and latitude of a WKT point in WGS 84 (GeoSPARQL 1.1, section 8.5.1); None for other shapes and for what is not on Earth."""
    match = _WKT.fullmatch(wkt)
    if match is None:
        return None
    longitude, latitude = float(match[1]), float(match[2])
    return (longitude, latitude) if abs(longitude) <= 180 and abs(latitude) <= 90 else None


def draw(points: Sequence[Point]) -> Map | None:
    """The map on which all of these are; None where there are no points or no outlines."""
    if not points:
        return None
    west, east = min(p.longitude for p in points), max(p.longitude for p in points)
    south, north = min(p.latitude for p in points), max(p.latitude for p in points)
    middle = max(-75.0, min(75.0, (south + north) / 2))
    squeeze = math.cos(math.radians(middle))
    # Wide enough for both directions, with room around the points.
    least = _LEAST_ALONE if any(p.alone for p in points if p.main) else _LEAST
    span = max(least, (east - west) * 1.5, (north - south) * 1.5 / squeeze * WIDTH / HEIGHT)
    span = min(span, 360.0)
    scale = WIDTH / span
    left, top = (west + east) / 2 - span / 2, middle + HEIGHT / scale / 2 * squeeze
    frame = _Frame(left, top, scale, scale / squeeze)
    land = _land("countries-110m.json" if span > _WIDE else "countries-50m.json")
    if land is None:
        return None
    path = "".join(frame.path(ring) for ring, box in land if frame.meets(box))
    spots = tuple(Spot(it, *(round(value, 1) for value in frame.place(it.longitude, it.latitude))) for it in points)
    return Map(path, frame.grid(span), spots)


@dataclass(frozen=True)
class _Frame:
    """A window on the world: its corner in degrees, and pixels by degree of longitude and of latitude."""

    left: float
    top: float
    across: float
    down: float

    def place(self, longitude: float, latitude: float) -> Position:
        return (longitude - self.left) * self.across, (self.top - latitude) * self.down

    def meets(self, box: tuple[float, float, float, float]) -> bool:
        west, south, east, north = box
        x0, y0 = self.place(west, north)
        x1, y1 = self.place(east, south)
        return x1 >= 0 and y1 >= 0 and x0 <= WIDTH and y0 <= HEIGHT

    def path(self, ring: Sequence[Position]) -> str:
        """A ring as a path: positions far outside are drawn in to a margin, those too near to the last one left out."""
        pieces: list[str] = []
        last: tuple[int, int] | None = None
        for longitude, latitude in ring:
            x, y = self.place(longitude, latitude)
            # In tenths of a pixel, each as the way from the one before it: that is shorter, and the page carries it.
            at = round(max(-40.0, min(WIDTH + 40.0, x)) * 10), round(max(-40.0, min(HEIGHT + 40.0, y)) * 10)
            if last is None:
                pieces.append(f"M{at[0]} {at[1]}l")
            elif abs(at[0] - last[0]) < _NEAR * 10 and abs(at[1] - last[1]) < _NEAR * 10:
                continue
            else:
                pieces.append(f"{at[0] - last[0]} {at[1] - last[1]} ")
            last = at
        return "".join(pieces).rstrip() + "z" if len(pieces) > 2 else ""

    def grid(self, span: float) -> str:
        """Meridians and parallels, some four across."""
        step = next(step for step in (5, 10, 15, 30, 45, 60, 90) if span / step <= 6)
        pieces = []
        for degree in range(-360, 361, step):
            x, y = self.place(degree, degree)
            if 0 < x < WIDTH:
                pieces.append(f"M{x:.1f} 0V{HEIGHT}")
            if abs(degree) <= 90 and 0 < y < HEIGHT:
                pieces.append(f"M0 {y:.1f}H{WIDTH}")
        return "".join(pieces)


_Ring = tuple[tuple[Position, ...], tuple[float, float, float, float]]


@functools.cache
def _land(name: str) -> tuple[_Ring, ...] | None:
    """The rings of all countries, each with its west, south, east and north end."""
    topology = libraries.outlines(name)
    if topology is None:
        return None
    (sx, sy), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs: list[list[Position]] = []
    for arc in topology["arcs"]:
        x = y = 0
        positions = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            positions.append((x * sx + tx, y * sy + ty))
        arcs.append(positions)
    rings = []
    for indices in _rings(topology["objects"]["countries"]):
        ring: list[Position] = []
        for index in indices:
            arc = arcs[index] if index >= 0 else arcs[~index][::-1]
            ring += arc[1:] if ring else arc
        longitudes, latitudes = [p[0] for p in ring], [p[1] for p in ring]
        rings.append((tuple(ring), (min(longitudes), min(latitudes), max(longitudes), max(latitudes))))
    return tuple(rings)


def _rings(geometry: dict[str, Any]) -> Iterator[list[int]]:
    match geometry["type"]:
        case "GeometryCollection":
            for part in geometry["geometries"]:
                yield from _rings(part)
        case "Polygon":
            yield from geometry["arcs"]
        case "MultiPolygon":
            for polygon in geometry["arcs"]:
                yield from polygon
