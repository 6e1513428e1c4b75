"""What an object holds, whether its class is compiled or not."""


def inside(thing: object) -> dict[str, object]:
    """Its public attributes by name, defaults of its class included. A compiled object has no `__dict__`."""
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
