"""All goldens again: python3 make_all.py [names of scripts without make_ and .py]. Needs requirements.txt; about five minutes on one core.
SLOW=<a python with transformers 4> adds the ids of the slow tokenizer."""
import os, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
training = os.path.normpath(f"{here}/../../models/emoji/training")
slow = ["--slow", os.environ["SLOW"]] if "SLOW" in os.environ else []
# in this order: the noise floor reads what embedded writes
SCRIPTS = {"embedded": [f"{training}/make_golden.py"], "noise_floor": [f"{here}/make_noise_floor.py"], "check": [f"{training}/check_with_diffusers.py"],
           "emoji": [f"{here}/make_emoji.py"], "models": [f"{here}/make_models.py"], "half_noise": [f"{here}/make_half_noise.py"], "tokenizer": [f"{here}/make_tokenizer.py", *slow],
           "tome": [f"{here}/make_tome.py"], "ops": [f"{here}/make_ops.py"], "samplers": [f"{here}/make_samplers.py"]}
unknown = [n for n in sys.argv[1:] if n not in SCRIPTS]
if unknown:
    sys.exit(f"Cannot make {', '.join(unknown)}: expected some of {', '.join(SCRIPTS)}")
for name in sys.argv[1:] or SCRIPTS:
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, *SCRIPTS[name]], check=True)
