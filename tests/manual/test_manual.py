"""Tests of the tools of the manual: what they find, and what they leave alone."""

import fnmatch
import tempfile
import unittest
from pathlib import Path

import assemble
import check
import pages
import plots
import self_contained


class Pages(unittest.TestCase):
    def test_anchors_of_headings_are_those_of_the_repositorys_view(self):
        text = "# A `b::c`: d?\n## Same\n## Same\n```\n# no heading\n```\n### [Link](x.md) & more\n"
        self.assertEqual(pages.anchors(text), {"a-bc-d", "same", "same-1", "link--more"})

    def test_links_in_code_are_not_links(self):
        text = "[a](b.md) `[c](d.md)` ![e](f.svg)\n```\n[g](h.md)\n```\n[i](j(k).md)\n"
        self.assertEqual([link[2] for link in pages.links(text)], ["b.md", "f.svg", "j(k).md"])

    def test_block_in_a_list_is_read_without_its_indentation(self):
        _, blocks = pages.split("1. x\n\n   ```yaml\n   a:\n     b: 1\n   ```\n")
        self.assertEqual([(b.language, b.text, b.line) for b in blocks], [("yaml", "a:\n  b: 1\n", 4)])


class Check(unittest.TestCase):
    def problems(self, function, *args):
        found = []
        with tempfile.TemporaryDirectory() as folder:
            function(*args, *([folder, 1] if function is check.check_yaml else []), lambda *problem: found.append(problem[-1]))
        return found

    def test_configuration_with_a_misspelt_key_is_a_problem(self):
        good = "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {debug: }\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n"
        good = good.replace("receivers: {otlp", "receivers:\n  {otlp", 1)
        self.assertEqual(self.problems(check.check_yaml, good), [])
        self.assertIn("OC107", self.problems(check.check_yaml, good.replace("grpc", "grcp"))[0])
        self.assertIn("OC107", self.problems(check.check_yaml, "exporters:\n  otlp_grpc: {endpont: a}\n")[0])
        self.assertEqual(self.problems(check.check_yaml, "exporters:\n  otlp_grpc: {endpoint: a}\n"), [])
        self.assertIn("queue_siz ", self.problems(check.check_yaml, "sending_queue:\n  queue_siz: 1\n")[0] + " ")

    def test_command_with_an_unknown_flag_is_a_problem(self):
        self.assertEqual(self.problems(check.check_command, "$ otelcore send traces --rate=1 > file --x"), [])
        self.assertIn("no flag --rat", self.problems(check.check_command, "otelcore send --rat=1")[0])
        self.assertIn("no command sent", self.problems(check.check_command, "otelcore sent")[0])
        self.assertIn("is not there", self.problems(check.check_command, "scripts/nothing")[0])


class Site(unittest.TestCase):
    def test_every_page_of_the_site_is_in_a_table_of_contents(self):
        listed = [entry for entries in assemble.TABLES_OF_CONTENTS.values() for entry in entries] + ["index", "reference/*"]
        pages = [place.removesuffix(".md") for place in assemble.site_pages().values()]
        missing = [page for page in pages if not any(fnmatch.fnmatchcase(page, entry) for entry in listed)]
        self.assertEqual(missing, [])

    def test_link_leads_to_a_page_of_the_site_or_to_the_repository(self):
        assembly = assemble.Assembly(Path("/site"))
        page = pages.DOCS / "recipes" / "c.md"
        self.assertEqual(assembly.link(page, "../../SECURITY.md#limits"), "../security.md#limits")
        self.assertEqual(assembly.link(page, "../README.md"), "../index.md")
        self.assertTrue(assembly.link(page, "../../crates/net").endswith("/tree/main/crates/net"))
        self.assertEqual(assembly.with_links(page, "`[x](../../SECURITY.md)`"), "`[x](../../SECURITY.md)`")

    def test_what_a_browser_loads_from_elsewhere_is_found(self):
        self.assertEqual(self_contained.outside('<a href="https://a/">x</a><script src="_static/a.js"></script>'), [])
        self.assertEqual(self_contained.outside('<script defer src="https://a/b.js"></script>'), ["https://a/b.js"])
        self.assertEqual(self_contained.outside("@import url('//fonts/x')"), ["//fonts/x"])


class Plots(unittest.TestCase):
    def test_ticks_are_round_and_at_most_seven(self):
        for top, last in ((14.0, 10), (0.9, 0.8), (1_012_502, 1_000_000), (61, 60)):
            values = plots.ticks(top)
            self.assertLessEqual(len(values), 7)
            self.assertAlmostEqual(values[-1], last)


if __name__ == "__main__":
    unittest.main()
