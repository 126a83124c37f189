"""The live lab: families of networks that train in front of you, and take a stress when you press a button.

`akp_core.live.session` is the engine, a plain object without any display; `akp_core.live.runner` drives one
in a thread; `akp_core.live.lab` is its face in a notebook.
"""
