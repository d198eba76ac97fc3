"""The services of PayFlow: one image, one process per role."""
