def write(path, order):
    pass
