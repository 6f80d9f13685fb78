from graphmesh.cli.testing import local_mesh


def test_the_whole_mesh() -> None:
    with local_mesh("mesh.yaml").sync() as mesh:
        assert mesh.predict("topics", text=["hot soup"])["topic"] == ["food"]
