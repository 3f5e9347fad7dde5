import functools


def doubled(function):
    def inner(*args, **kwargs):
        return function(*args, **kwargs) * 2

    return inner


def tagged(name, count):
    def wrap(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            result = function(*args, **kwargs)
            result["tag"] = name * count
            return result

        return inner

    return wrap
