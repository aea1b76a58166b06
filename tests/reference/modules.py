"""A part of a model as a module of its own, for exporters."""

import torch


class Run(torch.nn.Module):
    """`run` as a module that holds the parameters of `holder`."""

    def __init__(self, run, holder):
        super().__init__()
        self.run, self.holder = run, holder

    def forward(self, *inputs):
        return self.run(*inputs)
