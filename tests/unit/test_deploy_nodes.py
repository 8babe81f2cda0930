"""The list of nodes, what is written from it, and what is filled in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.fill import FillError, fill, fill_all, nginx_replacements
from deploy.nodes import RESERVED, Node, NodesError, check, of_machine, parse, with_node, without_node, write
from deploy.render import load, render_all, render_nginx, stale
from deploy.render import write as write_files

ROOT = Path(__file__).parent.parent.parent
TEXT = """\
# The nodes.
n1 127.0.0.1:5001   # the first
\tn2   [fd00::5]:5001

n3 unix:/run/realtime/n3.sock
"""
NODES = [Node("n1", "127.0.0.1:5001"), Node("n2", "[fd00::5]:5001"), Node("n3", "unix:/run/realtime/n3.sock")]

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", fullmatch=True).filter(
    lambda i: i.lower() not in RESERVED
)
ports = st.integers(1, 65_535)
v4 = st.ip_addresses(v=4).filter(lambda ip: not ip.is_unspecified and not ip.is_multicast)
v6 = st.ip_addresses(v=6).filter(lambda ip: not (ip.is_unspecified or ip.is_multicast or ip.ipv4_mapped))
addresses = st.one_of(
    st.builds("{}:{}".format, v4, ports),
    st.builds("[{}]:{}".format, v6, ports),
    st.from_regex(r"unix:/run/[A-Za-z0-9._@+-]{1,40}\.sock", fullmatch=True),
)
machines = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)


@st.composite
def lists(draw: st.DrawFn) -> list[Node]:
    """Lists that are right."""
    pairs = draw(
        st.lists(st.tuples(ids, addresses), min_size=1, unique_by=(lambda p: p[0].lower(), lambda p: p[1]))
    )
    named = draw(st.booleans())
    return [Node(i, address, draw(machines) if named else None) for i, address in pairs]


def test_a_list_is_read() -> None:
    assert parse(TEXT) == NODES
    assert [(node.host, node.port, node.unix_socket) for node in NODES] == [
        ("127.0.0.1", 5001, None),
        ("[fd00::5]", 5001, None),
        (None, None, "/run/realtime/n3.sock"),
    ]


@given(lists())
def test_what_is_written_is_read_again(nodes: list[Node]) -> None:
    assert parse(write(nodes)) == nodes


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("n1", "should be ID ADDRESS"),
        ("n1 127.0.0.1:5001 web1 more", "should be ID ADDRESS"),
        ("n.1 127.0.0.1:5001", "no id of a node"),
        ("-n1 127.0.0.1:5001", "beginning with a letter or digit"),
        (f"{'n' * 33} 127.0.0.1:5001", "1 to 32"),
        ("all 127.0.0.1:5001", "name of another program"),
        ("Redis 127.0.0.1:5001", "name of another program"),
        ("n1 localhost:5001", "no name: nginx tells"),
        ("n1 127.0.0.1", "IP:PORT"),
        ("n1 127.0.0.1:", "number from 1 to 65535"),
        ("n1 127.0.0.1:0", "number from 1 to 65535"),
        ("n1 127.0.0.1:65536", "number from 1 to 65535"),
        ("n1 127.0.0.1:٣", "number from 1 to 65535"),
        ("n1 fd00::5:5001", "[IPV6]:PORT"),
        ("n1 [127.0.0.1]:5001", "IP:PORT"),
        ("n1 [fe80::1%eth0]:5001", "IP:PORT"),
        ("n1 [::ffff:10.0.0.1]:5001", "10.0.0.1:5001"),
        ("n1 0.0.0.0:5001", "cannot connect to 0.0.0.0"),
        ("n1 [::]:5001", "cannot connect to ::"),
        ("n1 224.0.0.1:5001", "cannot connect"),
        ("n1 unix:n1.sock", "absolute path"),
        ("n1 unix:/run/a;b", "absolute path"),
        ("n1 unix:/run/", "absolute path"),
        (f"n1 unix:/{'a' * 107}", "108 bytes, and may have 107"),
        ("n1 127.0.0.1:5001 web;1", "no name of a machine"),
        ("n9 127.0.0.1:5999\nN9 127.0.0.1:5998", "but for capitals"),
        ("n9 127.0.0.1:5999\nn8 127.0.0.1:5999", "address of its own"),
        ("n9 [fd00::1]:5999\nn8 [fd00:0::1]:5999", "address of its own"),
        ("n9 127.0.0.1:5999\nn8 127.0.0.1:5998 web1", "n9 names no machine"),
    ],
)
def test_a_wrong_line_is_named_and_explained(line: str, sentence: str) -> None:
    with pytest.raises(NodesError, match=re.escape(sentence)) as caught:
        parse(f"# a comment\n\n{line}\n")
    number = 2 + len(line.splitlines())
    assert f"line {number} " in str(caught.value)


def test_an_empty_list_is_explained(tmp_path: Path) -> None:
    with pytest.raises(NodesError, match="is empty"):
        parse("# nobody\n")
    with pytest.raises(NodesError, match=r"there is no .*nodes\.txt"):
        load(tmp_path)


def test_a_node_joins_and_leaves_and_comments_stay() -> None:
    more = with_node(TEXT, Node("n4", "127.0.0.1:5004"))
    assert parse(more) == [*NODES, Node("n4", "127.0.0.1:5004")]
    assert more.startswith(TEXT)
    assert without_node(more, "n4") == TEXT
    fewer = without_node(TEXT, "n1")
    assert parse(fewer) == NODES[1:]
    assert fewer.startswith("# The nodes.\n\tn2")
    with pytest.raises(NodesError, match="n1"):
        with_node(TEXT, Node("n1", "127.0.0.1:5009"))
    with pytest.raises(NodesError, match=r"no node 'n7' in the list: it has n1, n2, n3"):
        without_node(TEXT, "n7")
    with pytest.raises(NodesError, match="is empty"):
        without_node("n1 127.0.0.1:5001\n", "n1")
    assert with_node("", Node("n1", "127.0.0.1:5001")) == "n1 127.0.0.1:5001\n"


def test_a_machine_runs_its_own_nodes() -> None:
    named = parse("n1 10.0.0.1:5001 web1\nn2 10.0.0.1:5002 web1\nn3 10.0.0.2:5001 web2\n")
    assert [node.id for node in of_machine(named, "web1")] == ["n1", "n2"]
    with pytest.raises(NodesError, match="--machine web1 or web2"):
        of_machine(named, None)
    with pytest.raises(NodesError, match="no machine 'web3': it names web1, web2"):
        of_machine(named, "web3")
    assert of_machine(NODES, None) == NODES
    with pytest.raises(NodesError, match="name none here"):
        of_machine(NODES, "web1")


def test_what_ships_follows_from_the_list() -> None:
    assert stale(render_all(ROOT, load(ROOT))) == [], "run: python -m deploy nodes"


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    files = {tmp_path / "a" / "one": "1", tmp_path / "two": "2"}
    assert stale(files) == list(files)
    assert write_files(files) == list(files)
    assert stale(files) == write_files(files) == []
    (tmp_path / "two").write_text("by hand")
    assert write_files(files) == [tmp_path / "two"]
    assert (tmp_path / "two").read_text() == "2"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "one", "two"]


def entries(text: str, name: str) -> dict[str, str]:
    """The patterns of a map of nginx, and what they give."""
    _, _, rest = text.partition(f"${name} {{")
    return dict(re.findall(r'^ *"?~(\S.*?)"? (\S+);$', rest.partition("\n}")[0], re.MULTILINE))


def found(patterns: dict[str, str], text: str) -> list[str]:
    return [value for pattern, value in patterns.items() if re.search(pattern, text)]


@example([Node("n1", "1.0.0.1:5001"), Node("n11", "11.0.0.1:5001"), Node("n2", "1.0.0.1:50011")])
@given(lists())
def test_nginx_gets_every_node_and_can_tell_them_apart(nodes: list[Node]) -> None:
    text = render_nginx(ROOT, nodes)[ROOT / "nginx/nodes.conf"]
    at, to, served = (entries(text, name) for name in ("at", "to", "served"))
    assert len(at) == len(to) == len(served) == len(nodes)
    for node in nodes:
        assert f"upstream at_{node.id} {{" in text
        assert found(at, f"{node.id}.abcd") == [f"at_{node.id}"]
        assert found(to, node.id) == [f"to_{node.id}"]
        # Of those asked the last one has answered.
        for asked in (node.address, f"{nodes[0].address}, {node.address}", f"pool : {node.address}"):
            assert found(served, asked) == [node.id]


def test_nodes_that_cannot_be_together_are_refused_everywhere() -> None:
    twins = [Node("n1", "127.0.0.1:5001"), Node("n1", "127.0.0.1:5002")]
    for use in (check, lambda nodes: render_all(ROOT, nodes)):
        with pytest.raises(NodesError, match="one id"):
            use(twins)


# Filling in.


def test_filling_replaces_everywhere_and_longer_strings_first() -> None:
    text = "a /srv/realtime/app; b /srv/realtime; c /srv/realtime"
    assert fill(text, {"/srv/realtime": "/x", "/srv/realtime/app": "/y"}) == "a /y; b /x; c /x"
    # What was filled in is not looked at again.
    assert fill("one two", {"one": "two", "two": "one"}) == "two one"
    assert fill("a.c abc", {"a.c": "x"}) == "x abc"
    assert fill("same", {}) == "same"


def test_what_does_not_occur_is_an_error() -> None:
    with pytest.raises(FillError, match="'two' should occur in the text"):
        fill("one", {"one": "1", "two": "2"})
    assert fill_all({"f": "one", "g": "two"}, {"one": "1", "two": "2"}) == {"f": "1", "g": "2"}
    with pytest.raises(FillError, match="'three' should occur in f, g"):
        fill_all({"f": "one", "g": "two"}, {"three": "3"})


def test_everything_of_nginx_can_be_moved(tmp_path: Path) -> None:
    places = nginx_replacements(
        root=Path("/elsewhere/code"),
        run=Path("/elsewhere/run"),
        data=Path("/elsewhere/data"),
        user="somebody",
        host="127.0.0.1",
        port=8080,
        https=(8443, Path("/elsewhere/crt"), Path("/elsewhere/key")),
    )
    texts = {path.name: path.read_text() for path in ROOT.glob("nginx/*.conf")}
    for name, text in fill_all(texts, places).items():
        settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        paths = set(re.findall(r"(?<![\w.$:/*])/[a-z]+/[\w./-]+", settings))
        assert {path for path in paths if not path.startswith("/elsewhere")} <= {"/dev/stdout"}, name
        assert not re.search(r"listen [^;]*\b(80|443)\b", settings), name
        assert "www-data" not in settings
