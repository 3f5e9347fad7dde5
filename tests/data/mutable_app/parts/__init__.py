from . import build, shapes

VERSION = 1
