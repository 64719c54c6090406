"""Cases by a second hand: code that shares nothing with the training's scenes but the files.

Whoever draws training and test with the same code measures how well a model knows that code. Here things move by other
laws, are composed otherwise (in linear light, at twice the size, with shadows that lie on the ground), worlds with
depth have a renderer of their own, and cut-outs and backgrounds are held out from training by source. Nothing in this
folder may import ``lamdemo.data.scenes``.

A source's action is carried out by its target's own thing, which is another one, up to twice as large or half as large,
at a place that merely overlaps: the whole of it is displaced by as much (in picture widths and heights), turned by the
same angle and grows by the same factor, about its own middle. What enters is the same cut-out in both.
"""

from lamdemo.evaluation.second_hand.drawing import CAMERAS, KINDS, Kind
from lamdemo.evaluation.second_hand.writing import write_second_hand

__all__ = ["CAMERAS", "KINDS", "Kind", "write_second_hand"]
