"""Loggers: callbacks that write what a training reports for TensorBoard, MLflow and Weights & Biases."""

from ppgen.logging.logger import Logger
from ppgen.logging.mlflow import MLflow
from ppgen.logging.named import LOGGERS, make_loggers
from ppgen.logging.tensorboard import TensorBoard
from ppgen.logging.wandb import WandB

__all__ = ["LOGGERS", "Logger", "MLflow", "TensorBoard", "WandB", "make_loggers"]
