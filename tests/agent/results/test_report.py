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
