"""What a package can ask for: the action protocol, the providers, their catalogue, the `@std` library.

The compiler reads only the catalogue; the runtime alone imports the providers.
"""
