"""The functions that Python programs call: every option is a parameter of its own.

The command line and the pytest plugin pass the same options in one frozen object (verify.run.options.Options).
"""
