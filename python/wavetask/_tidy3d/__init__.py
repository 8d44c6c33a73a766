"""The only place that knows tidy3d's classes: simulations to documents, documents to tidy3d's data objects.

Nothing here is imported before the first tidy3d object is met, so that `import wavetask` stays cheap without tidy3d.
"""
