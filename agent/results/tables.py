"""The columns of a map as comma-separated text; pure."""

import csv
import io

from drivers.contract.maps import CLASS_NAMES, DefectMap, Sublattice
from drivers.own_results import TABLE_HEADER


def csv_text(defect_map: DefectMap) -> str:
    """One line a column, below the line of headings `TABLE_HEADER`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_HEADER)
    sides = {int(side): side.name.lower() for side in Sublattice}
    for row in defect_map.columns:
        places = [f"{row[name]:.4f}" for name in ("row_px", "col_px", "x_angstrom", "y_angstrom")]
        shares = [f"{share:.6g}" for share in row["p"]]
        doubts = [f"{row['entropy_nats']:.6g}", f"{row['foreign']:.4g}"]
        writer.writerow(
            [*places, sides[int(row["sublattice"])], CLASS_NAMES[int(row["cls"])], *shares, *doubts]
        )
    return text.getvalue()
