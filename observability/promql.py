"""Expressions of the dashboards. Each selects by the variables of the scrape; time ranges are Grafana's."""

from dataclasses import dataclass

SCRAPE = 'namespace=~"$namespace",job=~"$job",pod=~"$pod"'
RECORDED = 'namespace=~"$namespace",job=~"$job"'
"""Recorded series know no pod."""
OPERATOR_SCRAPE = 'namespace=~"$operator_namespace",job=~"$operator_job",pod=~"$operator_pod"'
"""Variables of other names: a link from a board of the proxies brings theirs along, and the operator is elsewhere."""
OPERATION = 'operation=~"$operation"'
MODEL = 'model=~"$model"'
BROKEN = 'outcome=~"upstream_error|timeout|idle_timeout|internal_error"'
"""Streams that had an error instead of their end, and not by their reader's will or a restart."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a board is about: the matchers of each of its selectors."""

    matchers: str

    def pick(self, metric: str, *matchers: str) -> str:
        """The series of a metric that the variables select."""
        return f"{metric}{{{','.join((self.matchers, *matchers))}}}"

    def rate(self, metric: str, *matchers: str) -> str:
        """Per second, over the interval that Grafana finds right for scrape and screen."""
        return f"rate({self.pick(metric, *matchers)}[$__rate_interval])"

    def quantile(self, which: float, metric: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
        """A quantile of a histogram; NaN, which draws nothing, where nothing was observed."""
        return f"histogram_quantile({which}, {total(self.rate(f'{metric}_bucket', *matchers), 'le', *by)})"

    def buckets(self, metric: str, *matchers: str) -> str:
        """For a heatmap: observations by bucket."""
        return total(f"increase({self.pick(f'{metric}_bucket', *matchers)}[$__rate_interval])", "le")


PROXIES = Scope(SCRAPE)
OPERATOR = Scope(OPERATOR_SCRAPE)
pick, rate, quantile, buckets = PROXIES.pick, PROXIES.rate, PROXIES.quantile, PROXIES.buckets
"""Of the proxies, which nearly everything is about."""


def one_of(label: str, values: tuple[str, ...]) -> str:
    """A matcher for any of some values."""
    return f'{label}=~"{"|".join(values)}"'


def total(expr: str, *by: str) -> str:
    """The sum, by some labels if they are named."""
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def share(part: str, whole: str) -> str:
    """A ratio; nothing where the whole is 0, so that silence is not taken for success."""
    return f"{part} / ({whole} > 0)"


def known(expr: str) -> str:
    """Without NaN, so that a stat says that there is nothing instead of showing it."""
    return f"{expr} >= 0"


REQUIRED = f"on (namespace, job, pod) {pick('mimic_token_required')} == 1"


def where_required(expr: str) -> str:
    """Only pods with a token service: a static token has no age and no renewal."""
    return f"({expr}) and {REQUIRED}"


TOKEN_LEFT = where_required(
    f"clamp_min({pick('mimic_token_issued_timestamp_seconds')} + {pick('mimic_token_lifetime_seconds')} - time(), 0)"
)
"""Seconds that the held token lives on: of an assumed lifetime too, and 0 where there is none."""
