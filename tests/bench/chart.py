"""A chart of points with error bars, as SVG text: readable on white and on dark pages, without a plotting library."""

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 170, 40, 60
# Okabe and Ito: told apart by the colour-blind; and by shape.
STYLES = (("#0072b2", "circle"), ("#d55e00", "square"), ("#009e73", "triangle"))


def ticks(low, high, count=5):
    """Round numbers that cover [low, high]."""
    step = 10.0 ** -12
    while (high - low) / step > count:
        step *= 2.5 if f"{step:e}".startswith("2") else 2
    first = int(low / step) if low >= 0 else int(low / step) - 1
    numbers = [first * step]
    while numbers[-1] < high:
        numbers.append(numbers[-1] + step)
    return numbers


def mark(shape, x, y, color):
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color}"/>'
    if shape == "square":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{color}"/>'
    return f'<path d="M{x:.1f} {y - 6:.1f}l6 11h-12z" fill="{color}"/>'


def chart(title, x_label, y_label, categories, series):
    """series: {name: [(mean, half the bar's length) of each category]}, at most len(STYLES)."""
    low = min(mean - bar for points in series.values() for mean, bar in points)
    high = max(mean + bar for points in series.values() for mean, bar in points)
    marks = ticks(low, high)
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def y_of(value):
        return TOP + plot_height * (marks[-1] - value) / (marks[-1] - marks[0])

    def x_of(category, offset=0.0):
        return LEFT + plot_width * (category + 0.5) / len(categories) + offset

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="24" font-size="15">{title}</text>']
    for value in marks:
        lines.append(f'<path d="M{LEFT} {y_of(value):.1f}h{plot_width}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y_of(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for i, category in enumerate(categories):
        lines.append(f'<text x="{x_of(i):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{category}</text>')
    lines.append(f'<text x="{LEFT + plot_width / 2}" y="{HEIGHT - 14}" text-anchor="middle">{x_label}</text>')
    lines.append(f'<text transform="translate(18 {TOP + plot_height / 2}) rotate(-90)" text-anchor="middle">{y_label}</text>')
    for k, ((name, points), (color, shape)) in enumerate(zip(series.items(), STYLES)):
        offset = 14 * (k - (len(series) - 1) / 2)
        path = " ".join(f"{x_of(i, offset):.1f},{y_of(mean):.1f}" for i, (mean, _) in enumerate(points))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-opacity="0.4"/>')
        for i, (mean, bar) in enumerate(points):
            x = x_of(i, offset)
            lines.append(f'<path d="M{x:.1f} {y_of(mean - bar):.1f}V{y_of(mean + bar):.1f}" stroke="{color}" stroke-width="2"/>')
            lines.append(mark(shape, x, y_of(mean), color))
        legend = TOP + 20 + 24 * k
        lines.append(mark(shape, WIDTH - RIGHT + 20, legend, color))
        lines.append(f'<text x="{WIDTH - RIGHT + 34}" y="{legend + 4}">{name}</text>')
    return "\n".join(lines + ["</svg>", ""])
