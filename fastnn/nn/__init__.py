"""The network as mathematics: parameters, forward, backward, optimizers, schedules."""
