"""One file for each layout that data comes in.

Every reader returns a Listing, and raises DataError where a file or folder of the data set is missing or damaged.
"""
