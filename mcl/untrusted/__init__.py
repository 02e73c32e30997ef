"""The one door for files that somebody may have sent: run folders, checkpoints, exported files, bundles, archives.

Every reader of such a file goes through this package, which limits size, depth and expansion before anything is
parsed, and refuses whatever could act: pickled code, links out of the folder, special files. docs/security.md states
what is trusted, what is not, and the limits. tests/security/test_one_door.py finds readers that go past the door.
"""
