"""Words and figures for people, the same in pictures, reports and tables; pure."""


def class_words(dopant: str | None) -> dict[str, str]:
    """What each class is called, by its name in tables; a dopant only if there may be one."""
    words = {"x2": "X2", "vac1": "single vacancy", "vac2": "double vacancy", "metal": "metal"}
    return words | {"dopant": f"{dopant} dopant"} if dopant else words
