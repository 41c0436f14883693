"""The columns of a map as comma-separated text; pure."""

import csv
import io

from drivers.contract.maps import CLASS_NAMES, DefectMap, Sublattice

HEADER = (
    *("row_px", "col_px", "x_angstrom", "y_angstrom", "sublattice", "class"),
    *(f"p_{name}" for name in CLASS_NAMES),
    *("entropy_nats", "foreign"),
)


def csv_text(defect_map: DefectMap) -> str:
    """One line a column, below the line of headings `HEADER`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    sides = {int(side): side.name.lower() for side in Sublattice}
    for row in defect_map.columns:
        places = [f"{row[name]:.4f}" for name in ("row_px", "col_px", "x_angstrom", "y_angstrom")]
        shares = [f"{share:.6g}" for share in row["p"]]
        doubts = [f"{row['entropy_nats']:.6g}", f"{row['foreign']:.4g}"]
        writer.writerow(
            [*places, sides[int(row["sublattice"])], CLASS_NAMES[int(row["cls"])], *shares, *doubts]
        )
    return text.getvalue()
