"""`python -m graphmesh.cli`: how `graphmesh up` starts its children with the interpreter it runs on."""

from graphmesh.cli.main import main

if __name__ == "__main__":
    main()
