"""Torch modules built from operator graphs: blocks, networks of one architecture, supernets of a space."""

from hurricane.nn.block import Block, FoldedWeights, Normalisation
from hurricane.nn.forms import form
from hurricane.nn.growing import grow
from hurricane.nn.network import FixedNetwork, Supernet

__all__ = ["Block", "FixedNetwork", "FoldedWeights", "Normalisation", "Supernet", "form", "grow"]
