"""What an exported ResNet-18 takes under paddle.inference and onnxruntime: the table of docs/onnx.md.

    python docs/experiments/inference_speed.py

Random weights, images of 224 x 224, 2 threads each. The runs take turns in one process; the result is the least time. Needs the
packages of requirements-onnx.txt, or requirements-onnx-2.6.txt.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppema.environment import choose_threads, load_paddle

THREADS, ROUNDS, RUNS = 2, 12, 2


def save(prefix: Path) -> None:
    """Write an inference program of a ResNet-18."""
    import paddle

    from ppema.ir import backend

    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        images = paddle.static.data("images", [-1, 3, 224, 224], "float32")
        network = paddle.vision.models.resnet18()
        network.eval()
        scores = network(images)
    program, fed, outputs = backend().for_inference(main, [scores])
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(prefix), [fed["images"]], outputs, executor, program=program)


def predictor(files: tuple[Path, Path], *, onednn: bool):
    """A function of images that runs the program in `files`."""
    from paddle import inference

    config = inference.Config(*map(str, files))
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(THREADS)
    if onednn:
        config.enable_mkldnn()
    elif hasattr(config, "disable_mkldnn"):  # 2.6 has it off from the start
        config.disable_mkldnn()
    made = inference.create_predictor(config)

    def run(images: np.ndarray) -> np.ndarray:
        handle = made.get_input_handle("images")
        handle.reshape(images.shape)
        handle.copy_from_cpu(images)
        made.run()
        return made.get_output_handle(made.get_output_names()[0]).copy_to_cpu()

    return run


def main() -> None:
    choose_threads(THREADS)
    load_paddle()
    import onnxruntime

    from ppema.deploy.loaded_back import program_files
    from ppema.deploy.onnx_conversion import convert

    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "inference"
        save(prefix)
        files = program_files(prefix)
        convert(*files, Path(folder) / "model.onnx", ["scores"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
        runs = {
            "onnxruntime": lambda images: session.run(None, {"images": images})[0],
            "oneDNN": predictor(files, onednn=True),
            "without oneDNN": predictor(files, onednn=False),
        }
        for batch in (1, 8):
            images = np.random.default_rng(0).random((batch, 3, 224, 224), dtype="float32")
            times: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(ROUNDS):
                for name, run in runs.items():
                    for _ in range(RUNS):
                        start = time.perf_counter()
                        run(images)
                        times[name].append(time.perf_counter() - start)
            least = {name: min(each) * 1e3 for name, each in times.items()}
            shown = ", ".join(f"{name} {value:.1f} ms" for name, value in least.items())
            print(f"batch {batch}: {shown}; oneDNN / onnxruntime {least['oneDNN'] / least['onnxruntime']:.2f}")


if __name__ == "__main__":
    main()
