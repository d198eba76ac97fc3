"""The image of all roles: its Dockerfile, the images that are not built here and their digests, and its bill of materials."""
