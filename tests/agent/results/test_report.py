import re

from agent.results.report import Failure, ReportImage, report_html


def test_the_page_holds_its_pictures_and_links_to_nothing(a_map):
    page = report_html("run", [ReportImage("a.dm4", a_map().header, b"png", b"png")])
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(?:href|src)=[\"'](?!data:)", page)
    assert "command line: --host" in page
    assert "<h2>a.dm4: WSe2:Ti, 80 keV, HAADF (68-280 mrad)</h2>" in page
    assert "scale_mismatch" in page
    assert "concentration (median)" in page


def test_names_from_outside_are_escaped_and_failures_told(a_map):
    image = ReportImage("<script>", a_map().header)
    page = report_html("run", [image, image], [Failure("b.dm4", "cut <short>")])
    assert "<script>" not in page
    assert "cut &lt;short&gt;" in page


def test_the_page_explains_its_terms_and_says_where_flags_and_grains_are(a_map):
    page = report_html("run", [ReportImage("a.dm4", a_map().header)])
    for term in ("Most probable", "Expected", "Entropy", "Margin", "Metal over X2", "Foreign"):
        assert f"<b>{term}</b>" in page
    assert "vac1 a single and vac2 a double vacancy" in page
    assert "foreignness above 2" in page
    assert "flags and grain are in the .nxs file" in page
    assert "flagged as foreign, boundary" in page


def test_shares_are_told_in_words_and_to_the_digits_of_their_interval(a_map):
    header = a_map().header
    none = header.concentrations[0].model_copy(
        update={"defect": "vac2", "expected_count": 0.0, "value": 0.00042, "low": 0.0, "high": 0.0016}
    )
    header = header.model_copy(update={"concentrations": (*header.concentrations, none)})
    page = report_html("run", [ReportImage("a.dm4", header)])
    assert '<td>single vacancy</td><td class="n">1</td><td class="n">1.0</td>' in page
    assert '<td class="n">30 %</td><td class="n">10 to 60 %</td>' in page
    assert '<td class="n">&lt; 0.16 %</td><td class="n">0 to 0.16 %</td>' in page


def test_when_it_was_made_is_told_if_given(a_map):
    image = ReportImage("a.dm4", a_map().header)
    assert "<td>made on</td><td>2026-11-30 07:05 UTC</td>" in report_html(
        "run", [image], made_on="2026-11-30 07:05 UTC"
    )
    assert "made on" not in report_html("run", [image])
