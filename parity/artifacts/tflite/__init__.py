"""TFLite files: what is written in one, how parts are cut out of it, which layers its operators are, what runs it."""
