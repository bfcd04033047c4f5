"""Operations with a fixed, true meaning, from families that minipy lacks: mathematics, files, formats, logic."""

from random import Random

from tiny_corpus import invented
from tiny_corpus.invented import Pair, put

# Wordings, then code. {x} and {y} are names, quoted in the wording; {k} and {m} numbers; {c} a text.
OPERATIONS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("take the square root of {x}", "square root of {x}", "math sqrt of {x}"), "math.sqrt({x})"),
    (("compute the sine of {x}", "sine of angle {x}", "math sin of {x}"), "math.sin({x})"),
    (("compute the cosine of {x}", "cosine of angle {x}", "math cos of {x}"), "math.cos({x})"),
    (("natural logarithm of {x}", "compute the log of {x}", "math log of {x}"), "math.log({x})"),
    (("logarithm of {x} in base {k}", "compute the log of {x} to base {k}"), "math.log({x}, {k})"),
    (("factorial of {x}", "compute the factorial of {x}"), "math.factorial({x})"),
    (("round {x} down to an integer", "floor of {x}"), "math.floor({x})"),
    (("round {x} up to an integer", "ceil of {x}"), "math.ceil({x})"),
    (("round {x} to {k} decimals", "round {x} to {k} places after the point"), "round({x}, {k})"),
    (("greatest common divisor of {x} and {y}", "gcd of {x} and {y}"), "math.gcd({x}, {y})"),
    (("hypotenuse of the legs {x} and {y}", "hypot of {x} and {y}"), "math.hypot({x}, {y})"),
    (("divmod of {y} and {x}", "quotient and rest of {y} over {x} as a pair"), "divmod({y}, {x})"),
    (("shift {x} left by {k} bits", "move the bits of {x} left {k} places"), "{x} << {k}"),
    (("shift {x} right by {k} bits", "move the bits of {x} right {k} places"), "{x} >> {k}"),
    (("binary form of {x}", "write {x} in base two"), "bin({x})"),
    (("hexadecimal form of {x}", "write {x} in hex"), "hex({x})"),
    (("octal form of {x}", "write {x} in octal"), "oct({x})"),
    (("bit mask of {k} ones", "mask with {k} low bits"), "(1 << {k}) - 1"),
    (("number of bits that {x} needs", "bit length of {x}"), "{x}.bit_length()"),
    (("parse {x} as an integer", "read the integer written in {x}"), "int({x})"),
    (("parse {x} as an integer in base {k}", "read {x} as an int of base {k}"), "int({x}, {k})"),
    (("parse {x} as a float", "read the decimal number written in {x}"), "float({x})"),
    (("code point of {x}", "unicode number of the sign {x}"), "ord({x})"),
    (("sign with code point {x}", "character of unicode number {x}"), "chr({x})"),
    (("type of {x}", "tell what type {x} is"), "type({x})"),
    (("test whether {x} is an instance of {y}", "see if {x} is of type {y}"), "isinstance({x}, {y})"),
    (("identity of {x}", "id of object {x}"), "id({x})"),
    (("hash of {x}", "hash value of the object {x}"), "hash({x})"),
    (("is {x} None", "test that {x} is nothing"), "{x} is None"),
    (("is {x} something", "test that {x} is not None"), "{x} is not None"),
    (("are {x} and {y} the same object", "is {x} identical to {y}"), "{x} is {y}"),
    (("{x} and also {y}", "both {x} and {y} true"), "{x} and {y}"),
    (("{x} or else {y}", "fall back from {x} to {y}"), "{x} or {y}"),
    (("opposite truth of {x}", "negation of {x}"), "not {x}"),
    (("'{c}' when {x} holds, otherwise '{t}'", "choose '{c}' if {x} else '{t}'"), "'{c}' if {x} else '{t}'"),
    (("{x} when it exceeds {k}, otherwise {k}",), "{x} if {x} > {k} else {k}"),
    (("exchange {x} and {y}", "let {x} and {y} trade values"), "{x}, {y} = {y}, {x}"),
    (("bind {x} to {k}", "let {x} be {k}"), "{x} = {k}"),
    (("bind {x} to the text '{c}'", "let {x} be '{c}'"), "{x} = '{c}'"),
    (("bind both {x} and {y} to {k}", "let {x} and {y} be {k}"), "{x} = {y} = {k}"),
    (("unpack {x} into {y} and the others", "let {y} be the head of {x}"), "{y}, *_ = {x}"),
    (("raise {x} by {k} percent",), "{x} * (1 + {k} / 100)"),
    (("mean of {x} and {y}", "point halfway from {x} to {y}"), "({x} + {y}) / 2"),
    (("ratio of {x} to {y}", "divide {x} by {y}"), "{x} / {y}"),
    (("is {x} between {k} and {m}", "test that {x} lies from {k} to {m}"), "{k} <= {x} <= {m}"),
    (("print {x}", "show {x} on the screen"), "print({x})"),
    (("print {x} and {y} on one line", "show {x} beside {y}"), "print({x}, {y})"),
    (("print {x} without a newline", "show {x} and stay on the line"), "print({x}, end='')"),
    (("ask the user for {x}", "read {x} from the keyboard"), "{x} = input()"),
    (("open file {x} to read", "open {x} for reading"), "open({x})"),
    (("open file {x} to write", "open {x} for writing"), "open({x}, 'w')"),
    (("open file {x} in binary mode", "open {x} as bytes"), "open({x}, 'rb')"),
    (("read the whole of file {x}", "read all of {x}"), "{x}.read()"),
    (("read one line of file {x}", "next line of the file {x}"), "{x}.readline()"),
    (("write {x} to file {y}", "put {x} into the file {y}"), "{y}.write({x})"),
    (("close the file {x}", "close {x}"), "{x}.close()"),
    (("does the path {x} exist", "test that file {x} exists"), "os.path.exists({x})"),
    (("join folder {x} and file {y}", "path of {y} in folder {x}"), "os.path.join({x}, {y})"),
    (("delete the file {x} from disk", "unlink file {x}"), "os.remove({x})"),
    (("make the folder {x}", "create directory {x}"), "os.mkdir({x})"),
    (("rename file {x} to {y}", "move file {x} to {y}"), "os.rename({x}, {y})"),
    (("value of the environment variable {x}", "environment setting {x}"), "os.environ[{x}]"),
    (("wait for {x} seconds", "sleep {x} seconds"), "time.sleep({x})"),
    (("seconds since {x}", "time that went by since {x}"), "time.time() - {x}"),
    (("parse {x} as json", "decode the json in {x}"), "json.loads({x})"),
    (("write {x} as json", "encode {x} to json"), "json.dumps({x})"),
    (("write {x} as json indented by {k}", "pretty json of {x} with indent {k}"), "json.dumps({x}, indent={k})"),
    (("random element of {x}", "draw at random from {x}"), "random.choice({x})"),
    (("draw {k} at random from {x}", "random sample of {k} from {x}"), "random.sample({x}, {k})"),
    (("shuffle {x}", "mix {x} at random"), "random.shuffle({x})"),
    (("random integer from {k} to {m}", "roll a number from {k} to {m}"), "random.randint({k}, {m})"),
    (("all matches of pattern '{c}' in {x}", "regex matches of '{c}' within {x}"), "re.findall('{c}', {x})"),
    (("match pattern '{c}' against {x}", "regex match of '{c}' with {x}"), "re.match('{c}', {x})"),
    (("pair up {x} and {y}", "zip {x} with {y}"), "zip({x}, {y})"),
    (("number the things in {x}", "enumerate {x}"), "enumerate({x})"),
    (("enumerate {x} from {k}", "number the things in {x} from {k}"), "enumerate({x}, {k})"),
    (("chain {x} and {y}", "iterate over {x} and then over {y}"), "itertools.chain({x}, {y})"),
    (("permutations of {x}", "all arrangements of {x}"), "itertools.permutations({x})"),
    (("choices of {k} out of {x}", "combinations of {k} from {x}"), "itertools.combinations({x}, {k})"),
    (("iterator over {x}", "iter of {x}"), "iter({x})"),
    (("advance iterator {x}", "next thing from {x}"), "next({x})"),
    (("apply function {x} to {y}", "call {x} on {y}"), "{x}({y})"),
    (("apply {x} to everything in {y}", "map {x} over {y}"), "map({x}, {y})"),
    (("call {x} with no arguments", "run the function {x}"), "{x}()"),
    (("attribute '{c}' of {x}", "getattr '{c}' of {x}"), "getattr({x}, '{c}')"),
    (("does {x} have the attribute '{c}'", "hasattr '{c}' on {x}"), "hasattr({x}, '{c}')"),
    (("deep copy of {x}", "copy {x} with all inside"), "copy.deepcopy({x})"),
    (("bytes of {x}", "encode {x} as bytes"), "{x}.encode()"),
    (("decode bytes {x}", "text in the bytes {x}"), "{x}.decode()"),
    (("pad {x} on the left to {k}", "ljust {x} to {k}"), "{x}.ljust({k})"),
    (("centre {x} in {k} columns", "center {x} within {k}"), "{x}.center({k})"),
    (("format {x} with {k} decimals", "show {x} with {k} digits after the point"), "f'{{x}:.{k}f}'"),
    (("greet {x}", "say hello to {x}"), "f'hello {{x}}'"),
    (("lines in text {x}", "break {x} into lines"), "{x}.splitlines()"),
    (("is {x} printable", "test that {x} can be printed"), "{x}.isprintable()"),
    (("is {x} an identifier", "test that {x} is an identifier"), "{x}.isidentifier()"),
    (("function that adds {k}", "lambda that adds {k}"), "lambda x: x + {k}"),
    (("stop unless {x} is true", "assert {x}"), "assert {x}"),
    (("import module {x}", "load the module {x}"), "import {x}"),
    (("grid of zeros with {x} rows and {y} columns",), "[[0] * {y} for _ in range({x})]"),
    (("row {k} of matrix {x}", "matrix {x} at row {k}"), "{x}[{k}]"),
    (("transpose of matrix {x}", "transpose {x}"), "list(zip(*{x}))"),
    (("multiply every thing of {x} together", "prod of {x}"), "math.prod({x})"),
    (("median of {x}", "compute the median of {x}"), "statistics.median({x})"),
    (("integers below {x}", "range up to {x}"), "range({x})"),
    (("integers from {x} to {y}", "range from {x} to {y}"), "range({x}, {y})"),
    (("push {x} on the heap {y}", "heap push of {x} on {y}"), "heapq.heappush({y}, {x})"),
    (("today as a date", "the date of today"), "date.today()"),
    (("year of date {x}", "in which year is {x}"), "{x}.year"),
    (("days between {x} and {y}", "days from {x} to {y}"), "({y} - {x}).days"),
)
"""True operations. minipy has none of them."""
AFTER = (
    ("", "", "{e}"),
    ("", "", "{e}"),
    ("", "", "{e}"),
    ("return ", "", "return {e}"),
    ("print the ", "", "print({e})"),
    ("", " as text in quotes", "repr({e})"),
    ("bind '{z}' to the ", "", "{z} = {e}"),
    ("the ", ", called '{z}'", "{z} = {e}"),
)
STATEMENT = ("=", "print", "import", "assert", "return")


def fixed_pair(rng: Random) -> Pair:
    """Draw a true operation, sometimes with a use of its outcome or with a second line."""
    words, code = _operation(rng)
    if any(mark in code for mark in STATEMENT):
        if rng.random() < 0.3:
            more, line = _operation(rng)
            return f"{words} and then {more}", f"{code}\n{line}"
        return words, code
    before, after, frame = rng.choice(AFTER)
    fresh = invented.name(rng)
    return put(before + words + after, z=fresh), put(frame, z=fresh, e=code)


def _operation(rng: Random) -> Pair:
    phrases, code = rng.choice(OPERATIONS)
    variable, other = invented.name(rng), invented.name(rng)
    fields = invented.values(rng)
    words = put(rng.choice(phrases), x=f"'{variable}'", y=f"'{other}'", **fields)
    return words, put(code, x=variable, y=other, **fields)
