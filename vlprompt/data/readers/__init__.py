"""One file for each layout that data comes in; every reader returns a Listing."""

from vlprompt.data.readers.ag_news import read_ag_news
from vlprompt.data.readers.aircraft import read_aircraft
from vlprompt.data.readers.arrays import read_dataset
from vlprompt.data.readers.cifar import CIFAR10, CIFAR100, read_cifar
from vlprompt.data.readers.coop import read_split_file
from vlprompt.data.readers.core50 import read_core50
from vlprompt.data.readers.cub import read_cub
from vlprompt.data.readers.digits import read_digits
from vlprompt.data.readers.digits_c import read_corrupted_digits
from vlprompt.data.readers.dogs import read_stanford_dogs
from vlprompt.data.readers.domains import read_domain_folders, read_domain_lists
from vlprompt.data.readers.five import read_five_datasets
from vlprompt.data.readers.folder import read_folder
from vlprompt.data.readers.glue import Layout, read_glue
from vlprompt.data.readers.imagenet import read_imagenet, read_numbered_folders, read_wnid_folders
from vlprompt.data.readers.imagenet_r import read_imagenet_r
from vlprompt.data.readers.lama import read_lama
from vlprompt.data.readers.listing import Listing
from vlprompt.data.readers.sst2 import read_sst2
from vlprompt.data.readers.table import read_csv
from vlprompt.data.readers.text_datasets import read_text_dataset
from vlprompt.data.readers.texts import read_texts
from vlprompt.data.readers.vpt import read_vpt_lists
from vlprompt.data.readers.vtab import read_vtab

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "Layout",
    "Listing",
    "read_ag_news",
    "read_aircraft",
    "read_cifar",
    "read_core50",
    "read_corrupted_digits",
    "read_csv",
    "read_cub",
    "read_dataset",
    "read_digits",
    "read_domain_folders",
    "read_domain_lists",
    "read_five_datasets",
    "read_folder",
    "read_glue",
    "read_imagenet",
    "read_imagenet_r",
    "read_lama",
    "read_numbered_folders",
    "read_split_file",
    "read_sst2",
    "read_stanford_dogs",
    "read_text_dataset",
    "read_texts",
    "read_vpt_lists",
    "read_vtab",
    "read_wnid_folders",
]
