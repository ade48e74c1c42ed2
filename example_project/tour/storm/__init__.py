"""A flash sale as load: thousands of buyers over real HTTP, and the proof that nothing was sold twice.

Each buyer sends one reservation under one call id. Whatever it does not know (a lost connection, a time-out, a 503) it
sends again under the same id until it knows, so that killing the server in the middle changes how long the storm takes
and nothing else. ``client`` speaks HTTP, ``load`` is the buyers, ``server`` is a server that can be killed, ``proof``
compares what the buyers were told with what the server and the database say.
"""
