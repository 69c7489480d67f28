"""Drawing code of this module's lectures, one file for each; none of it is taught."""
