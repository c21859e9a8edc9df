"""The end-to-end story: composes the parts into API and worker, supervises the laptop's services, runs the demo."""
