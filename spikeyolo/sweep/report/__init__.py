"""What one sees of a sweep: ``console`` while it runs, ``results`` and ``conclusion`` in its folder, ``observer`` and
``tracking`` on a tracking server.

The console and messages need neither Optuna nor a server's client, so nothing is imported here.
"""
