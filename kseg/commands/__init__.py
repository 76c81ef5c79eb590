"""The deed of each command of the shell, in a file of the same name; a script can call the same.

The deed of `kseg check` is `kseg.data.check` itself, that of `kseg convert` is `kseg.data.convert` itself.
"""
