"""Microscope drivers and the contract they speak; needs neither torch nor abTEM."""
