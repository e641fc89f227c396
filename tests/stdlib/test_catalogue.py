from importlib.resources import files

from requisition.stdlib.catalogue import describe_builtins, load, suggest


def test_the_catalogue_file_is_what_the_providers_say():
    assert files("requisition.stdlib").joinpath("catalogue.json").read_bytes() == describe_builtins()


def test_every_action_slot_and_output_is_documented():
    for spec in load().values():
        assert spec.doc
        for part in (*spec.slots, *spec.outputs):
            assert part.doc, (spec.name, part.name)


def test_a_near_name_is_suggested():
    assert suggest("file.cpoy") == "file.copy"
    assert suggest("zzzzzzzz") == ""
